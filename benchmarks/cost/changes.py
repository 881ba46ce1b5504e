"""What each change gave: `python -m benchmarks.cost.changes`.

Checks the commits of CHANGES out of this repository's history, one after another and
for several rounds, and times FRSKD on ResNet-18 in each with benchmarks/cost/step_time.py,
as multiples of plain training's time, peak memory and first step in the same process.
Writes benchmarks/cost/changes.md and .png. Nothing else may run beside it.
"""

import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile

import numpy as np
from absl import app, flags

from benchmarks import reports
from benchmarks.cost import step_time
from benchmarks.cost.step_time_report import fastest, ratios
from keras_selfkd.files import whole
from keras_selfkd.plots import COLORS

FLAGS = flags.FLAGS
flags.DEFINE_string("measure", None, "A student to measure in this tree, as JSON.")
flags.DEFINE_integer("repeats", 2, "Measurements of each commit.", lower_bound=1)

STUDENT = "resnet18"
# What each changed since the one before, and what that should take off the time: the
# milliseconds that kernels.md saw saved, for as many such layers as the self-teacher
# has, over the 590 of a plain step.
CHANGES = {
    "1fdb3d9": ("before", ""),
    "94b4f47": ("the self-teacher's BatchNorm in one operation", "-0.34"),
    "1a0a680": ("its 1x1 convolutions as matrix products", "-0.07"),
    "dcbc0f0": ("fusions weigh a map before they enlarge it", "-0.02"),
    "fba3b05": ("the step is traced once, its gradients checked by sums", "first step"),
    "049985d": ("maps enlarged by joining copies", "-0.00; first step"),
    "e517f90": ("statistics averaged in BatchNorm, checked together", "first step"),
    "eefbad1": ("fusion weights taken in by BatchNorm", "-0.02"),
}
TITLES = {"time": "time of a step", "memory": "peak memory", "first": "first step"}


def measure(student):
    """Prints FRSKD's time, memory and first step as multiples of plain training's."""
    costs, _ = step_time.compare(student)
    plain, ours = fastest(costs), costs["FRSKD"]
    print(
        json.dumps(
            {
                "time": statistics.median(ratios(ours, plain)),
                "memory": ours.memory / plain.memory,
                "first": ours.first_step / plain.first_step,
            }
        )
    )


def in_its_tree(tree):
    command = [sys.executable, "-m", "benchmarks.cost.changes", f"--measure={STUDENT}"]
    command += ["--legs=FRSKD", "--starts=1"]
    command += [f"--{flag}={FLAGS[flag].value}" for flag in ("rounds", "steps")]
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    done = subprocess.run(
        command,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        cwd=tree,
        env=environment,
    )
    return json.loads(done.stdout.splitlines()[-1])


def measure_all(folder, here):
    """What `measure` says of each commit, in each round."""
    for commit in CHANGES:
        git = ["git", "worktree", "add", "--quiet", "--detach", folder / commit, commit]
        subprocess.run(git, check=True, cwd=here)
        shutil.copytree(here, folder / commit / "benchmarks", dirs_exist_ok=True)
    results = {commit: [] for commit in CHANGES}
    for turn in range(FLAGS.repeats):
        for commit, measured in results.items():
            print(f"round {turn + 1} of {FLAGS.repeats}: {commit}", flush=True)
            measured.append(in_its_tree(folder / commit))
            print(measured[-1], flush=True)
    return results


def table(results):
    text = (
        "| commit | change | should give | time | peak memory | first step |\n"
        "|---|---|---|---|---|---|\n"
    )
    for commit, (change, expected) in CHANGES.items():
        cells = []
        for key in TITLES:
            low, middle, high = spread(results[commit], key)
            cells.append(f"{middle:.2f} ({low:.2f} to {high:.2f})")
        text += f"| {commit} | {change} | {expected} | {' | '.join(cells)} |\n"
    return text


def spread(measured, key):
    each = [result[key] for result in measured]
    return min(each), statistics.median(each), max(each)


def draw(results, path):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3), layout="constrained")
    every = figure.subplots(1, len(TITLES), sharey=True)
    labels = [change for change, _ in CHANGES.values()]
    for color, axes, (key, title) in zip(COLORS, every, TITLES.items(), strict=False):
        low, middle, high = np.array([spread(r, key) for r in results.values()]).T
        axes.barh(labels, middle, xerr=(middle - low, high - middle), color=color)
        axes.axvline(1, color="gray", lw=0.8)
        axes.set_title(f"{title}, plain = 1", fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
    every[0].invert_yaxis()
    with whole(path) as staged:
        figure.savefig(staged, format="png", dpi=150)


def main(_):
    if FLAGS.measure:
        measure(FLAGS.measure)
        return
    here = pathlib.Path(__file__).parent
    try:
        with tempfile.TemporaryDirectory() as folder:
            results = measure_all(pathlib.Path(folder), here)
    finally:
        subprocess.run(["git", "worktree", "prune"], check=True, cwd=here)
    text = (
        f"# What each change gave\n\n`{reports.command()}`, "
        f"{reports.machine()}. FRSKD on {STUDENT}, batch 64, plain training = 1 in the "
        f"same process; medians (and range) of {FLAGS.repeats} processes, each with "
        f"{FLAGS.rounds} turns of {FLAGS.steps} steps. Every line holds the changes "
        "above it; what single parts take, and what did not help, is in "
        "[kernels.md](kernels.md).\n\n![Each change](changes.png)\n\n"
        f"{table(results)}"
    )
    reports.write_text(here / "changes.md", text)
    draw(results, here / "changes.png")
    print(text)


if __name__ == "__main__":
    app.run(main)
