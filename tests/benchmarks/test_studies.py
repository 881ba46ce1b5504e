"""The studies of benchmarks/accuracy are such as `examples.compare` takes."""

import pathlib

import pytest
from absl import flags
from absl.testing import flagsaver

from examples import compare
from examples.runs.methods import METHOD, build_method
from examples.runs.study import flags_set
from examples.runs.unused_flags import refuse_unused

ACCURACY = pathlib.Path(__file__).parents[2] / "benchmarks" / "accuracy"
STUDIES = sorted(ACCURACY.glob("*.toml"))


@pytest.mark.parametrize("file", STUDIES, ids=lambda file: file.stem)
def test_a_study_can_be_opened_and_builds_its_methods(file):
    with flagsaver.flagsaver():
        study = compare.open_study(flags.FLAGS(["compare", str(file)]))
        for arguments in study.legs.values():
            with flags_set(study.task, arguments):
                refuse_unused()
                build_method(METHOD.value, study.task.dense, {"examples": 9})
    assert len(study.legs) > 1
    assert f"benchmarks/accuracy/{file.name}" in file.read_text()
