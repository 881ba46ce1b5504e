"""The plain scripts run from top to bottom, here on a few images and eagerly.

What a whole one reaches is tested in `test_fit_script.py`.
"""

import pathlib
import re
import runpy

import keras
import pytest

from keras_selfkd import SelfDistillationModel

ROOT = pathlib.Path(__file__).parents[2]
SHARE = r"\d+\.\d%"
# What a script prints of each network, and the networks that it saves or draws.
EXPECTED = {
    "branches": (
        rf"{SHARE}, [\d,]+ weights",
        ["plain training", "exit 0", "exit 1", "student, taught with its exits"],
        {"first_exit.keras": 10_970},
    ),
    "memory": (rf"accuracy {SHARE}, ECE {SHARE}", ["plain training", "PSKD"], {}),
    "averages": (
        rf"{SHARE} of 1,497 test images",
        ["plain training", "student", "averaged student"],
        {"averaged.keras": 78_426},
    ),
    "taught": (
        rf"{SHARE}, [\d,]+ weights",
        ["teacher", "student, plain training", "student, taught"],
        {"taught.keras": 6_386},
    ),
    "masks": (
        rf"mean IoU {SHARE}, pixel accuracy {SHARE}",
        ["plain training", "frskd"],
        {"segmenter.keras": 489_291},
    ),
    "labels": (
        rf"even {SHARE}, loop {SHARE}, above 4 {SHARE}, all three {SHARE}",
        ["plain training", "FRSKD"],
        {"labels.keras": 77_971},
    ),
}


@pytest.fixture
def short_fits(monkeypatch):
    """Two epochs of one batch, each step run as it is written."""
    fit = SelfDistillationModel.fit

    def short(self, x, y=None, batch_size=None, epochs=1, **options):
        self.run_eagerly = True
        x, y = (x.take(1), None) if y is None else (x[:batch_size], y[:batch_size])
        return fit(self, x, y, batch_size=batch_size, epochs=2, **options)

    monkeypatch.setattr(SelfDistillationModel, "fit", short)


PATHS = (ROOT / "examples").glob("*_script.py")
NAMES = sorted(path.name.removesuffix("_script.py") for path in PATHS)
FAST = ("memory", "taught")  # The others take ten seconds and more.


def slow_unless_fast(name):
    return pytest.param(name, marks=[] if name in FAST else pytest.mark.slow)


@pytest.mark.parametrize(
    "name", [slow_unless_fast(name) for name in NAMES if name != "fit"]
)
def test_script_runs_to_its_end(name, short_fits, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    runpy.run_module(f"examples.{name}_script", run_name="__main__")
    pattern, networks, saved = EXPECTED[name]
    lines = capsys.readouterr().out.splitlines()
    assert [line.rsplit(": ", 1)[0] for line in lines] == networks
    assert all(re.fullmatch(pattern, line.rsplit(": ", 1)[1]) for line in lines)
    for file, parameters in saved.items():
        assert keras.models.load_model(tmp_path / file).count_params() == parameters


@pytest.mark.parametrize("name", NAMES)
def test_script_is_short_and_says_what_it_takes(name):
    text = (ROOT / "examples" / f"{name}_script.py").read_text("utf-8")
    assert len(text.splitlines()) <= 60
    assert re.search(
        rf"`python -m examples\.{name}_script` in a clone took \d+ s of CPU time "
        r"on 2 cores\n\(20\d\d-\d\d-\d\d\)\.\n\"\"\"",
        text,
    )
