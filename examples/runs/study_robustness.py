"""Rating a study's students on corrupted images, each kept beside it."""

import shlex
import sys

import keras

from examples.results import robustness
from examples.runs import study_runs
from examples.runs.study import flags_set
from examples.runs.task import loaded


def write(study, trainings):
    """Rates the students of the largest budget that are not rated; writes the report.

    Args:
        study: `Study` of classifiers.
        trainings: List of `Training`.

    Returns:
        String, what to print.
    """
    found = {}
    for one in trainings:
        result = study_runs.kept(one)
        if one.budget != max(study.budgets) or not result or "diverged" in result:
            continue
        student = one.path / "student.keras"
        if robustness.kept(one.path) is None and student.exists():
            print(f"Corrupting the test images of {one.leg}, seed {one.seed}")
            with flags_set(study.task, one.arguments):
                data = loaded(study.task)
                robustness.keep(one.path, keras.models.load_model(student), data)
        if (known := robustness.kept(one.path)) is not None:
            found.setdefault(one.leg, []).append(known)
    if not found:
        return "No student is left to corrupt images for: train with --overwrite."
    command = shlex.join(["python", "-m", "examples.compare", *sys.argv[1:]])
    title = f"{study.path.name}, {max(study.budgets)} epochs"
    text = robustness.write(study.path, found, command, title)
    return f"{text}\n\n{study.path}/: robustness.md, robustness.png"
