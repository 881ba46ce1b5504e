"""What stands in README and docs/ runs, leads somewhere, and leaves nothing out."""

import pathlib
import re
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_selfkd
from docs import method_table
from examples.students import by_name
from tests import toys

ROOT = pathlib.Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]
# What they write; all formats of a file take long.
WRITTEN = {
    "README": ("student.keras", "student.tflite", "int8.tflite"),
    "ship": ("student.tflite", "int8.tflite", "saved_model", "student.onnx"),
}
TABLES = sorted((ROOT / "benchmarks" / "cost").glob("step_time*.md"))


def text_of(page):
    return page.read_text(encoding="utf-8")


def blocks(page):
    return re.findall(r"```python\n(.*?)```", text_of(page), re.DOTALL)


def pages_with_code():
    """Those whose code runs here; strategies take a process of their own."""
    for page in PAGES:
        if blocks(page) and page.stem != "several_devices":
            marks = [pytest.mark.slow] if page.stem in WRITTEN else []
            yield pytest.param(page, marks=marks, id=str(page.relative_to(ROOT)))


def names_of_a_reader():
    """What a page of docs/ may take for given."""
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


@pytest.fixture
def eagerly(page):
    """Sooner done than traced; what is exported is a graph."""
    tf.config.run_functions_eagerly(page.stem not in WRITTEN)
    yield
    tf.config.run_functions_eagerly(False)


# Keras says so of every `fit` of a `tf.data.Dataset`; a reader's students are larger;
# `map` is a graph even where functions run eagerly.
@pytest.mark.filterwarnings("ignore:`shuffle=True` was passed:UserWarning")
@pytest.mark.filterwarnings("ignore:The self-teacher has:UserWarning")
@pytest.mark.filterwarnings("ignore:Even though the `tf.config:UserWarning")
@pytest.mark.parametrize("page", [*pages_with_code()])
@pytest.mark.usefixtures("eagerly")
def test_code_blocks_run_one_after_another(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {} if page == README else names_of_a_reader()
    for block in blocks(page):
        exec(compile(block, page.name, "exec"), names)
        if "fit" in block:
            assert all(np.all(np.isfinite(w)) for w in names["model"].get_weights())
    for name in WRITTEN.get(page.stem, ()):
        assert (tmp_path / name).exists(), name


@pytest.mark.slow
def test_the_strategy_of_several_devices_runs():
    (block,) = blocks(ROOT / "docs" / "several_devices.md")
    subprocess.run([sys.executable, "-c", block], check=True, cwd=ROOT)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page):
    for link in re.findall(r"\]\(([^)]+)\)", text_of(page)):
        path = page.parent / link.split("#")[0]
        assert link.startswith("https://") or path.is_file(), link


def test_readme_is_a_front_page():
    text = text_of(README)
    assert len(text.splitlines()) <= 180
    assert len(text.encode()) <= 9_000
    assert "make demo" in text
    assert "make test" in text


@pytest.mark.parametrize(
    ("page", "table"),
    [
        (README, method_table.short_table),
        (method_table.PAGES / "README.md", method_table.full_table),
    ],
    ids=["short", "full"],
)
def test_the_tables_of_methods_are_those_of_their_pages(page, table):
    """`python -m docs.method_table` writes them."""
    between = text_of(page).split("<!-- methods: begin -->\n")[1]
    assert between.split("<!-- methods: end -->")[0] == table()


def test_the_tables_have_all_methods():
    named = re.findall(r"^\| \[(\w+)\]", method_table.short_table(), re.MULTILINE)
    assert {*keras_selfkd.methods.__all__, "Supervised", "Late"} == {*named}


NEEDED = {
    "index": "with_index",
    "pair": "pairs_by_class",
    "previous": "overlapping",
    "view": "two views",
}


@pytest.mark.parametrize("name", keras_selfkd.methods.__all__)
def test_a_page_says_what_the_method_needs(name):
    card, method = method_table.card(name), getattr(keras_selfkd, name)
    said = {key for key, words in NEEDED.items() if words in card.needs}
    assert said == {*method.needs}
    # One tap is the map before the head.
    assert ("taps" in card.needs) == (method.minimum_taps > 0)
    assert (card.students != "classes") == method.dense
    assert text_of(card.page).count("**Cost.**") == 1


@pytest.mark.parametrize("name", method_table.METHODS)
def test_the_time_of_a_step_was_measured(name):
    """On ResNet-18, in a table of benchmarks/cost."""
    step = method_table.card(name).step
    row = rf"## resnet18.*?\n\| {name} \| [\d.]+ \| ([\d.]+) "
    found = [re.search(row, text_of(table), re.DOTALL) for table in TABLES]
    medians = {f"{float(match[1]):.1f}" for match in found if match}
    if medians:
        assert step in medians
    else:
        assert name in ("Taught", "Late")


def test_the_reference_holds_every_public_name():
    named = re.findall(
        r"^::: keras_selfkd\.(\w+)$", text_of(ROOT / "docs/api.md"), re.M
    )
    assert sorted(named) == sorted(keras_selfkd.__all__)


def test_the_students_of_the_runners_are_listed():
    known = by_name.student_builders() | by_name.segmenter_builders()
    own = [name for name in known if not hasattr(keras.applications, name)]
    text = text_of(ROOT / "docs" / "supported_students.md")
    assert [name for name in own if f"`{name}`" not in text] == []


def test_the_site_leads_to_every_page():
    navigation = text_of(ROOT / "mkdocs.yml").split("nav:")[1]
    pages = [str(page.relative_to(ROOT)) for page in PAGES]
    assert [page for page in pages if page not in navigation] == []
