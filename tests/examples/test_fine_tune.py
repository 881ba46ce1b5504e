import os
import pathlib
import re
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

ROOT = pathlib.Path(__file__).parents[2]
SCRIPT = ROOT / "examples" / "fine_tune.py"


def variables(model, kind):
    layers = [layer for layer in model.layers if isinstance(layer, kind)]
    return {v.path: v.numpy() for layer in layers for v in layer.variables}


# Keras makes batches of arrays by tf.data, which stays as it is.
@pytest.mark.filterwarnings("ignore:Even though the `tf.config:UserWarning")
@pytest.mark.slow
def test_the_script_keeps_batch_norm_and_moves_the_rest(tmp_path, monkeypatch):
    """Run small and eagerly, from a file of weights."""
    keras.utils.set_random_seed(3)
    backbone = keras.applications.MobileNet(
        input_shape=(32, 32, 3), alpha=0.25, include_top=False, weights=None
    )
    backbone.save_weights(tmp_path / "backbone.weights.h5")
    constants = re.compile(r"^SIZE, .* = .*$", re.M)
    small = "SIZE, CLASSES, FROZEN_EPOCHS, EPOCHS, LATE = 32, 5, 1, 2, 0.5"
    text, count = constants.subn(small, SCRIPT.read_text("utf-8"))
    assert count == 1
    text = text.replace("[200:]", "[:40]").replace("200", "40")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["fine_tune", "backbone.weights.h5"])
    names = {}
    tf.config.run_functions_eagerly(True)
    try:
        exec(compile(text, "fine_tune.py", "exec"), names)
    finally:
        tf.config.run_functions_eagerly(False)
    student = keras.models.load_model(tmp_path / "student.keras")
    moved = {}
    for kind in (keras.layers.BatchNormalization, keras.layers.Conv2D):
        before, after = variables(backbone, kind), variables(student, kind)
        assert before.keys() == after.keys()
        same = [np.array_equal(after[path], before[path]) for path in before]
        moved[kind.__name__] = same.count(False)
    assert moved["BatchNormalization"] == 0
    assert moved["Conv2D"] > 0
    assert names["model"].history.history["feature_loss"][1] > 0  # It has begun.
    best = keras.models.load_model(tmp_path / "fine_tuned.keras")
    assert [layer.name for layer in best.student.layers] == [
        layer.name for layer in student.layers
    ]


@pytest.mark.slow
def test_the_script_fine_tunes_offline(tmp_path):
    result = subprocess.run(
        [sys.executable, "-m", "examples.fine_tune"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert result.returncode == 0, result.stderr
    accuracies = re.findall(r" accuracy: ([\d.]+)", result.stdout)
    assert float(accuracies[-1]) > 0.5  # A fifth would be chance.
