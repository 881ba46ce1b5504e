import os
import pathlib
import re
import subprocess
import sys

import keras
import pytest

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.slow
def test_script_trains_and_saves_an_ordinary_student(tmp_path):
    result = subprocess.run(
        [sys.executable, "-m", "examples.fit_script"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert result.returncode == 0, result.stderr
    accuracies = re.findall(r"accuracy: ([\d.]+)", result.stdout)
    assert float(accuracies[-1]) > 0.9
    student = keras.models.load_model(tmp_path / "student.keras")
    assert student.name == "small_resnet"
    assert student.count_params() == 78_426
