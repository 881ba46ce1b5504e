"""The oldest supported TensorFlow and Keras, in an environment of their own."""

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
OLDEST = (
    "tensorflow==2.18.*",
    "keras==3.13.*",
    "ai-edge-litert==1.2.*",
    "numpy<2.1",
    "scipy==1.13.*",
)
CONTRACT = "tests/methods/test_contract.py"
TESTS = (
    "tests/losses",
    "tests/networks",
    "tests/test_taps.py",
    "tests/distributed/test_update.py",
    "tests/export/test_student.py",
    "tests/export/test_saved_model.py",
    f"{CONTRACT}::test_reloaded_training_goes_on_bit_for_bit",
    f"{CONTRACT}::test_two_replicas_train_as_one",
    "tests/distributed/test_replicas.py",
    "tests/distributed/test_strategies.py",
)
WORKERS = (
    "tests/distributed/test_cluster.py::test_two_workers_fit_evaluate_predict_and_save",
    "tests/distributed/test_cluster.py::test_error_a_worker_alone",
)
# TensorFlow 2.18's converter says so of every int8 file that takes floats.
IGNORED = "ignore:Statistics for quantized inputs were expected:UserWarning"


@pytest.mark.slow
def test_the_oldest_supported_versions(tmp_path):
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = str(tmp_path / "venv" / "bin" / "python")
    # Python compiles what is imported, a small part.
    install = [python, "-m", "pip", "install", "--quiet", "--no-compile"]
    subprocess.run([*install, *OLDEST, "pytest", "pillow"], check=True)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    options = ["-q", "-p", "no:cacheprovider", "-W", IGNORED]
    for tests in (["-m", "not slow", *TESTS], WORKERS):
        result = subprocess.run(
            [python, "-m", "pytest", *options, *tests],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert result.returncode == 0, result.stdout[-5000:]
