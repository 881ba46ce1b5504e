import os
import subprocess
import sys

import keras
import pytest

from keras_selfkd.backend import check_backend


def test_another_backend_is_refused_at_import():
    """Also where that backend is not installed, and Keras cannot be imported."""
    result = subprocess.run(
        [sys.executable, "-c", "import keras_selfkd"],
        env={**os.environ, "KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
    )
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith(
        "ImportError: keras_selfkd trains with Keras 3 on TensorFlow"
    )
    assert "KERAS_BACKEND=tensorflow" in last
    assert "jax" in last.split("Received: ")[1]


def test_error_backend(monkeypatch):
    monkeypatch.setattr(keras.config, "backend", lambda: "torch")
    with pytest.raises(ImportError, match="Received: backend='torch'"):
        check_backend()
