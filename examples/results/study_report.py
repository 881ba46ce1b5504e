"""What a study says: its plan, a line for each training, tables and pictures."""

import shlex
import sys

import numpy as np

from examples.results import study_pictures, study_table
from examples.runs import study_runs, tensorboard, training
from examples.runs.study import flags_set
from keras_selfkd.files import staging

_MOST_PANELS = 4


def plan(study, trainings, left, costs, jobs):
    """Returns lines that say what will be trained, and for how long."""
    lines = [f"\n{study.path}: {len(study.legs)} legs, seeds {_listed(study.seeds)}"]
    for leg, arguments in study.legs.items():
        epochs = dict.fromkeys(one.epochs for one in trainings if one.leg == leg)
        seconds, ratio = costs[leg]["seconds"], costs[leg]["ratio"]
        lines.append(
            f"  {leg}: {' '.join(arguments)}\n    {_listed(epochs)} epochs, a step "
            f"takes {1000 * seconds:.3g} ms, an epoch {ratio:.2f} times as long as of "
            f"{study.baseline}"
        )
    lines.append(
        f"{len(left)} trainings to go, {len(trainings) - len(left)} done; about "
        f"{_as_text(_seconds(left, costs, jobs))}."
    )
    return "\n".join(lines)


def progress(study, one, done, to_go, costs, elapsed):
    """Returns a line that says how a training went, and for how long the rest takes.

    Args:
        study: `Study`.
        one: The `Training` that has just ended.
        done: List of those that ended since the command was started.
        to_go: List of those that have not.
        costs: Dict from leg to what its steps cost.
        elapsed: Seconds since the command was started, which say more than the steps'
            costs do: several trainings at a time share the machine.
    """
    result = study_runs.kept(one)
    if "diverged" in result:
        outcome = "diverged"
    else:
        score = 100 * result["score"][study.task.metric]
        outcome = f"{score:.2f} % in {result['seconds']:.0f} s"
    ratio = elapsed / max(_seconds(done, costs), 1e-9)
    return (
        f"{one.leg}, seed {one.seed}, {one.epochs} epochs: {outcome}, about "
        f"{_as_text(ratio * _seconds(to_go, costs))} to go"
    )


def _seconds(trainings, costs, jobs=1):
    """How long the steps of trainings take."""
    of = {leg: cost["steps"] * cost["seconds"] for leg, cost in costs.items()}
    return sum(one.epochs * of[one.leg] for one in trainings) / jobs


def _as_text(seconds):
    minutes = seconds / 60
    return f"{minutes / 60:.1f} hours" if minutes > 90 else f"{minutes:.0f} minutes"


def _listed(values):
    return ", ".join(map(str, values))


def write(study, trainings, costs):
    """Writes table and pictures of what is finished; returns what to print of it."""
    found = [(one, study_runs.kept(one)) for one in trainings]
    finished = [one for one, result in found if result]
    results = [result for _, result in found if result]
    if not results:
        return "No training is finished."
    metric, per_class = study.task.metric, study.task.per_class
    rows = study_table.rows_of(results, costs, metric, per_class)
    study_table.write_csv(study.path / "results.csv", rows)
    missing = len(trainings) - len(finished)
    parts = [
        study_table.table(rows, metric, study.baseline),
        study_table.verdict(rows, metric, study.baseline),
        *[f"{missing} of {len(trainings)} trainings are missing."] * bool(missing),
    ]
    if any(result["note"] for result in results):
        parts.append(f"{training.FAST_NOTE}: this shows that it runs, not how well.")
    text = "\n\n".join(parts)
    origin = _origin(results)
    pictures = _draw(study, finished, rows, results[0]["labels"])
    shown = "\n".join(f"![{picture}]({picture})" for picture in pictures)
    with staging(study.path / "results.md") as staged:
        content = f"# {study.path.name}\n\n{origin}\n\n{text}\n\n{shown}\n"
        staged.write_text(content, encoding="utf-8")
    with flags_set(study.task, study.legs[study.baseline]):
        tensorboard.pictures(study.path)
    return f"{text}\n\n{study.path}/: results.csv, results.md, {_listed(pictures)}"


def _origin(results):
    """Returns the command, and the machines and days of the trainings."""
    words = [word for word in sys.argv[1:] if word != "--notrain"]
    known = dict.fromkeys(of["machine"] for of in results if "machine" in of)
    command = shlex.join(["python", "-m", "examples.compare", *words])
    return f"`{command}`, trained on {'; '.join(known) or 'unknown machines'}."


def _draw(study, finished, rows, names):
    """Draws all pictures; returns the names of their files."""
    title, names_of_files = study.path.name, ["score_by_time.png"]
    path = study.path / names_of_files[0]
    study_pictures.draw_score_by_time(rows, study.task.metric, path, title)
    sums = _sums_over_seeds(one for one in finished if one.budget == max(study.budgets))
    if sums:
        names_of_files.append("reliability.png")
        path = study.path / names_of_files[-1]
        study_pictures.draw_reliability(sums, path, title)
    matrices = {leg: of["confusion"] for leg, of in sums.items() if "confusion" in of}
    if matrices:
        names_of_files.append("confusion.png")
        path = study.path / names_of_files[-1]
        panels = _panels(matrices, study.baseline)
        study_pictures.draw_confusions(panels, names, path)
    return names_of_files


def _sums_over_seeds(trainings):
    """Dict from leg to a dict of the arrays that its trainings kept, added up."""
    sums = {}
    for one in trainings:
        if (one.path / study_runs.ARRAYS).exists():
            with np.load(one.path / study_runs.ARRAYS) as arrays:
                of_leg = sums.setdefault(one.leg, {})
                for name in arrays:
                    of_leg[name] = of_leg.get(name, 0) + arrays[name]
    return sums


def _panels(matrices, baseline):
    """The baseline's matrix and those of the legs that are right most often."""

    def wrong(leg):
        return 1 - np.trace(matrices[leg]) / max(np.sum(matrices[leg]), 1)

    others = sorted(matrices.keys() - {baseline}, key=wrong)
    shown = [*matrices.keys() & {baseline}, *others]
    return {leg: matrices[leg] for leg in shown[:_MOST_PANELS]}
