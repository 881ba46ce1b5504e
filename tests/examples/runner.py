"""Starting the runner in a test, and reading what it wrote."""

import csv
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
from absl import flags
from absl.testing import flagsaver

from examples import train_classifier

COMMAND = [sys.executable, "-m", "examples.train_classifier"]
ROOT = pathlib.Path(__file__).parents[2]


def run_main(*arguments):
    """Runs the runner in this process."""
    with flagsaver.flagsaver():
        argv = flags.FLAGS(["train_classifier", "--verbose=0", *arguments])
        train_classifier.main(argv)


def trial(module, folder, *arguments):
    """A trial as a user starts it: its directory and all that it printed."""
    result = subprocess.run(
        [sys.executable, "-m", module, "--fast", f"--run_dir={folder}", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        env=as_a_user(),
    )
    assert result.returncode == 0, result.stdout
    return folder, result.stdout


def as_a_user():
    """The environment of somebody who never heard of TensorFlow's log levels."""
    return {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}


def history(folder):
    with (folder / "history.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def assert_same_run(folder, expected):
    ours, theirs = ((run / "history.csv").read_bytes() for run in (folder, expected))
    assert ours == theirs
    for name in ("student.keras", "baseline.keras"):
        ours = keras.models.load_model(folder / name)
        theirs = keras.models.load_model(expected / name)
        for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
