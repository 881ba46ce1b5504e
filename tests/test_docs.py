"""What stands in docs/ runs, and leads somewhere."""

import pathlib
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_selfkd import methods
from tests import toys

ROOT = pathlib.Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").rglob("*.md"))


def names_of_a_reader():
    """What a page may take for given."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    examples = tf.data.Dataset.from_tensor_slices(toys.class_data())
    return {
        "student": toys.classifier(stages=toys.FEW_STAGES),
        "teacher": toys.classifier(stages=toys.FEW_STAGES),
        "loss": loss,
        "examples": examples,
        "train": examples.batch(8),
        "validation": examples.batch(8),
    }


# Keras says so of every `fit` of a `tf.data.Dataset`.
@pytest.mark.filterwarnings("ignore:`shuffle=True` was passed:UserWarning")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_code_blocks_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = names_of_a_reader()
    for block in re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.S):
        exec(compile(block, page.name, "exec"), names)
        if "fit" in block:
            assert all(np.all(np.isfinite(w)) for w in names["model"].get_weights())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)]+)\)", page.read_text("utf-8"))
    for link in links:
        path = page.parent / link.split("#")[0]
        assert link.startswith("https://") or path.exists(), link


def test_the_tables_of_methods_name_methods():
    table = (ROOT / "docs" / "methods" / "README.md").read_text("utf-8")
    named = re.findall(r"^\| \[(\w+)\]", table, re.M)
    assert len(named) == len({*named}) == 14
    assert set(named) <= set(methods.__all__)
