"""Compares methods on your data: seeds, equal epochs or equal time, one table.

  python -m examples.compare --methods=supervised,frskd,nfd --seeds=3

trains each method with each seed on scikit-learn's digits, by one recipe, from the same
first weights and in the same order of the images for the same seed, and tells which
differences are larger than the spread of the seeds. Any flag of train_classifier, or
with --task=segmenter of train_segmenter, goes for all of them: --dataset, --student,
--epochs, ...

  python -m examples.compare study.toml

reads the study from a file, where each leg has flags of its own:

  task = "classifier"         # or "segmenter"
  seeds = 3                   # or [0, 1, 2]
  budgets = [40, 160]         # epochs; by default those of the trainer
  equal_time = true           # as many epochs as fit in the first leg's time for them
  [base]                      # what all legs share
  dataset = "folder"
  data_dir = "photos"
  [legs.plain]                # the first leg is what the others are compared with
  method = "supervised"
  [legs.smoothed]
  method = "supervised"
  label_smoothing = 0.1
  [legs.frskd]
  method = "frskd"
  channels = 64

The steps of all legs are timed in turns before anything is trained, so that a leg that
cannot be trained is refused at once, the hours to go are known, and equal time means
equal steps' time whatever else the machine does. The command can be stopped and started
again at any point; what is finished is kept. Change the file, and what is new is
trained. With --jobs=2 two trainings run at a time, each on its share of the cores.

Everything goes to runs/<study>/: results.csv with a line for each training, results.md
with the table, score_by_time.png, reliability.png, confusion.png, and in runs/ each
training's history, student and flags; with --robustness also robustness.md and .png, of
noisy, blurred, shifted, ... test images, with --features=digits features-digits.md, of
other classes told by the students' features. Nothing is chosen on test images: students
have the weights of the last epoch or, with --best_epoch, of the best on validation
images.
"""

import contextlib
import pathlib
import sys
import time

from absl import flags

from examples import train_classifier, train_segmenter
from examples.results import study_report
from examples.runs import (
    recipe,
    step_costs,
    study_features,
    study_robustness,
    study_runs,
    training,
)
from examples.runs.methods import METHODS
from examples.runs.study import Study, flags_set
from examples.runs.study_file import (
    budgets_of,
    given_flags,
    legs_of,
    read_file,
    seeds_of,
)

TASKS = {"classifier": train_classifier.TASK, "segmenter": train_segmenter.TASK}

_METHODS = flags.DEFINE_list(
    "methods", None, f"What to compare, without a file: {', '.join(METHODS)}."
)
_SEEDS = flags.DEFINE_integer("seeds", None, "Number of seeds; by default 3.")
_BUDGETS = flags.DEFINE_list(
    "budgets", None, "Epochs to compare at; by default the trainer's."
)
_EQUAL_TIME = flags.DEFINE_bool(
    "equal_time",
    None,
    "Give each leg as many epochs as fit in the baseline's time for the budget.",
)
_TASK = flags.DEFINE_enum("task", None, list(TASKS), "What to train.")
_JOBS = flags.DEFINE_integer("jobs", 1, "Trainings at a time.", lower_bound=1)
_TRAIN = flags.DEFINE_bool(
    "train", True, "--notrain writes table and pictures of what is finished."
)
_ROBUSTNESS = flags.DEFINE_bool(
    "robustness",
    False,
    "Then rate the largest budget's students on corrupted test images, and after "
    "temperature scaling.",
)
_FEATURES = flags.DEFINE_string(
    "features",
    None,
    "Then rate the largest budget's students as feature extractors for another data "
    "set: digits, or the name of a TFDS data set.",
)


def open_study(argv):
    """Returns the `Study` that the command line asks for.

    Raises:
        ValueError: If it asks for none, or for one that cannot be carried out.
    """
    files = argv[1:]
    if len(files) + (_METHODS.value is not None) != 1:
        raise ValueError(
            "Expected a study: a TOML file, or --methods=supervised,frskd,... "
            f"(python -m examples.compare --help). Received: {' '.join(argv[1:])}"
        )
    content = read_file(files[0]) if files else {"legs": _legs_by_method()}
    name = _TASK.value or content.get("task", "classifier")
    if name not in TASKS:
        raise ValueError(
            f"Expected task to be one of {', '.join(TASKS)}. Received: {name!r}"
        )
    task = TASKS[name]
    for holder in (_ROBUSTNESS, _FEATURES):
        if holder.value and task.dense:
            raise ValueError(
                f"--{holder.name} is of classifiers. Received: --task=segmenter"
            )
    given = given_flags(task, TASKS.values())
    legs = legs_of(task, content.get("legs", {}), content.get("base", {}), given)
    baseline = content.get("baseline", next(iter(legs)))
    if baseline not in legs:
        raise ValueError(
            f"Expected baseline to be one of {', '.join(legs)}. Received: {baseline!r}"
        )
    with flags_set(task, legs[baseline]):
        fast, epochs = recipe.FAST.value, recipe.epochs()
    equal_time = content.get("equal_time", False)
    stem = pathlib.Path(files[0]).stem if files else f"compare-{name}-{'-'.join(legs)}"
    return Study(
        task=task,
        legs=legs,
        seeds=seeds_of(
            content.get("seeds", 3) if _SEEDS.value is None else _SEEDS.value
        ),
        budgets=budgets_of(
            epochs if fast else _BUDGETS.value or content.get("budgets", epochs)
        ),
        equal_time=equal_time if _EQUAL_TIME.value is None else _EQUAL_TIME.value,
        baseline=baseline,
        path=pathlib.Path(recipe.RUN_DIR.value or f"runs/{stem}{'-fast' * fast}"),
    )


def _legs_by_method():
    names = _METHODS.value
    if len(set(names)) < len(names) or not set(names) <= METHODS.keys():
        raise ValueError(
            f"Expected --methods to be different ones of {', '.join(METHODS)}. "
            f"Received: --methods={','.join(names)}"
        )
    return {name: {"method": name} for name in names}


def main(argv):
    with contextlib.ExitStack() as stack:
        try:
            study = open_study(argv)
            study.check_path()
            study_runs.check_legs(study)
            afresh = recipe.OVERWRITE.value and _TRAIN.value
            costs = step_costs.step_costs(study, _TRAIN.value, afresh)
            ratios = {leg: cost["ratio"] for leg, cost in costs.items()}
            trainings = study.trainings(ratios)
            if _TRAIN.value:
                stack.enter_context(study_runs.alone(study))
                if afresh:
                    study.delete()
                study_runs.check_trainings(study, trainings, costs)
                step_costs.keep(study, costs)
        except (ValueError, ImportError, OSError) as error:
            sys.exit(f"compare: {error}")
        if _TRAIN.value:
            carry_out(study, trainings, costs)
        print(f"\n{study_report.write(study, trainings, costs)}")
        if _ROBUSTNESS.value:
            print(f"\n{study_robustness.write(study, trainings)}")
        if _FEATURES.value:
            try:
                print(f"\n{study_features.write(study, trainings, _FEATURES.value)}")
            except ValueError as error:
                sys.exit(f"compare: {error}")


def carry_out(study, trainings, costs):
    """Trains what is left, a line for each when the table has it."""
    left = [one for one in trainings if study_runs.kept(one) is None]
    print(study_report.plan(study, trainings, left, costs, _JOBS.value), flush=True)
    to_go, done, start = list(left), [], time.monotonic()
    try:
        for one in study_runs.carry_out_all(study, left, _JOBS.value):
            to_go.remove(one)
            done.append(one)
            study_report.write(study, trainings, costs)
            elapsed = time.monotonic() - start
            line = study_report.progress(study, one, done, to_go, costs, elapsed)
            print(f"{len(done)} of {len(left)}: {line}", flush=True)
    except KeyboardInterrupt:
        training.stop("Interrupted. The same command, not --overwrite, goes on.")


if __name__ == "__main__":
    training.start(main)
