"""The oldest supported TensorFlow and Keras, in an environment of their own."""

import os
import pathlib
import subprocess
import sys

import pytest

from tests import equality

ROOT = pathlib.Path(__file__).parents[1]
OLDEST = (
    "tensorflow==2.18.*",
    "keras==3.13.*",
    "ai-edge-litert==1.2.*",
    "numpy<2.1",
    "scipy==1.13.*",
)
FILES = "tests/export/test_student.py"
SAVED_MODELS = "tests/export/test_saved_model.py"
CONTRACT = "tests/methods/test_contract.py"
TESTS = (
    "tests/losses",
    "tests/networks",
    "tests/test_taps.py",
    "tests/distributed/test_update.py",
    f"{FILES}::test_writes_a_file_that_computes_what_keras_does",
    f"{FILES}::test_only_the_student_of_a_self_distilled_model_is_in_the_file",
    f"{FILES}::test_the_head_is_part_of_the_file",
    f"{SAVED_MODELS}::test_a_saved_model_serves_images",
    f"{SAVED_MODELS}::test_encoded_images_are_served",
    f"{CONTRACT}::test_reloaded_training_goes_on_bit_for_bit",
    *(
        f"{CONTRACT}::test_two_replicas_train_as_one[{method}-{condition}]"
        for method in ("frskd", "memory")
        for condition in equality.FEW
    ),
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
@pytest.mark.minutes
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
