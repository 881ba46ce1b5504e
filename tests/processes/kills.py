"""Killing a training, starting it again, and comparing with one left alone."""

import json
import signal
import subprocess
import sys

import keras
import numpy as np

from tests.processes.workers import ROOT

TINY = ("--epochs=4", "--batch_size=50", "--train_per_class=10", "--verbose=0")


def run(folder, point=None, call=None, method="frskd"):
    """Trains in a process of its own, killed where the point says; its exit code."""
    module = "tests.processes.kill_itself" if point else "examples.train_classifier"
    kill = [point, str(call)] if point else []
    command = [sys.executable, "-m", module, *kill, *TINY]
    command += ["--nobaseline", f"--method={method}", f"--run_dir={folder}"]
    done = subprocess.run([*command, "--resume"], cwd=ROOT, capture_output=True)
    if done.returncode not in (0, -signal.SIGKILL):
        raise RuntimeError(done.stderr.decode()[-2000:])
    return done.returncode


def files(folder):
    """What a run holds: names of its files, its history, scores, and all weights."""
    # Not what is in folders: a saved model's parts may be named anew.
    names = sorted(path.name for path in folder.iterdir())
    scores = json.loads((folder / "result.json").read_text())["scores"]
    for score in scores.values():
        del score["seconds"]
    students = [
        keras.models.load_model(path) for path in sorted(folder.glob("*.keras"))
    ]
    weights = [weight for one in students for weight in one.get_weights()]
    return names, (folder / "history.csv").read_bytes(), scores, weights


def equal(folder, expected):
    """Whether two runs left the same, weights to the last bit."""
    *ours, our_weights = files(folder)
    *theirs, their_weights = files(expected)
    return ours == theirs and all(
        np.array_equal(a, b) for a, b in zip(our_weights, their_weights, strict=True)
    )
