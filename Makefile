# Each target sets up its own virtual environment in .venv on first use.
# Another interpreter: make demo PYTHON=python3.12

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

export TF_CPP_MIN_LOG_LEVEL ?= 2
# Not about our pages: the theme tells of its successor.
export NO_MKDOCS_2_WARNING := 1

# Each process gets tests that stand together, so that it makes their fixtures once, and
# takes over some of the other's when it has done its own.
IN_PARALLEL := -n 2 --dist worksteal

# What the site is built from, in the repository's own layout: pages, and what they show
# or link to.
PAGES := build/site_src
DOCUMENTED := $(wildcard *.md) mkdocs.yml CITATION.cff LICENSE docs benchmarks examples
KINDS := md png css csv toml py yaml yml log cff

.DEFAULT_GOAL := help
.PHONY: help demo demo-segmentation test test-slow docs lint format clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## /  make \1\t/'

demo: $(VENV)/.examples  ## train a small network with and without self-distillation
	$(BIN)/python -m examples.train_classifier --baseline_epochs=56 --overwrite

demo-segmentation: $(VENV)/.examples  ## the same with masks, on drawn scenes
	$(BIN)/python -m examples.train_segmenter --overwrite

test: $(VENV)/.dev  ## every test but the slow ones, and the docstring examples
	$(BIN)/python -m pytest $(IN_PARALLEL) -m "not slow"

test-slow: $(VENV)/.dev  ## large students, several processes, fresh installs
	$(BIN)/python -m pytest $(IN_PARALLEL) -m slow

docs: $(VENV)/.docs  ## the documentation as a site: build/site/index.html
	@rm -rf $(PAGES) && mkdir -p $(PAGES)
	@find $(DOCUMENTED) -type f -not -path '*runs/*' \
	  \( -name LICENSE -o -name Dockerfile $(KINDS:%=-o -name '*.%') \) -print \
	  | tar -cf - -T - | tar -xf - -C $(PAGES)
	$(BIN)/python -m mkdocs build --strict

lint: $(VENV)/.dev  ## style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.dev  ## mend what lint can mend by itself
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove the environment and the caches, never runs/
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache

# One stamp for each extra of setup.py, renewed when setup.py changes. Python compiles
# what is imported, a small part: half of the time.
$(VENV)/.%: setup.py | $(BIN)/pip
	@echo "Installing the packages of [$*] into $(VENV), once (a few minutes) ..."
	@$(BIN)/python -m pip install --quiet --no-compile --editable ".[$*]"
	@touch $@

# pip is the last thing that venv writes, so a broken-off set-up starts again.
$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "keras_selfkd needs Python 3.11 or newer, but $(PYTHON) is" \
	    "$$($(PYTHON) --version 2>&1). Name another one: make PYTHON=python3.12" >&2; \
	  exit 1; }
	$(PYTHON) -m venv $(VENV)
