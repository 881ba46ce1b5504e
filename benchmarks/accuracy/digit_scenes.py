"""The segmentation demo over seeds: `python -m benchmarks.accuracy.digit_scenes`.

Runs `python -m examples.train_segmenter` with each seed, and writes what both methods
score on the test scenes to benchmarks/accuracy/digit_scenes.md. The runs stay in --runs, so that
it goes on where it was. About 3 minutes a seed on 2 CPU cores.
"""

import json
import pathlib
import subprocess
import sys

from absl import app, flags

from benchmarks import reports

SEEDS = flags.DEFINE_integer("seeds", 3, "Number of seeds.", lower_bound=1)
RUNS = flags.DEFINE_string("runs", "runs/digit_scenes", "Where the runs are kept.")
OUTPUT = flags.DEFINE_string(
    "output", "benchmarks/accuracy/digit_scenes.md", "The table."
)


def scores(seed):
    """Scores of both methods, trained unless they are there."""
    folder = pathlib.Path(RUNS.value) / str(seed)
    command = [sys.executable, "-m", "examples.train_segmenter", f"--seed={seed}"]
    options = ["--noexport", "--verbose=2", "--resume", f"--run_dir={folder}"]
    subprocess.run([*command, *options], check=True)
    return json.loads((folder / "result.json").read_text())["scores"]


def main(_):
    runs = [scores(seed) for seed in range(SEEDS.value)]
    values = {
        reports.label(method): [100 * run[method]["mean_iou"] for run in runs]
        for method in runs[0]
    }
    plain = values["plain"]
    lines = ["| method | mean IoU, % | gain, points | by seed |", "|---|---|---|---|"]
    for method, found in values.items():
        gains = [own - other for own, other in zip(found, plain, strict=True)]
        gain = "" if found is plain else reports.mean_std(gains)
        each = ", ".join(f"{value:.2f}" for value in found)
        lines.append(f"| {method} | {reports.mean_std(found)} | {gain} | {each} |")
    table = "\n".join(lines)
    text = (
        "# Scenes of digits\n\n"
        f"`python -m benchmarks.accuracy.digit_scenes`, {reports.machine()}. The demo's recipe, "
        f"64 training scenes, 200 epochs, 240 test scenes, {SEEDS.value} seeds.\n\n"
        f"{table}\n"
    )
    reports.write_text(OUTPUT.value, text)
    print(text)


if __name__ == "__main__":
    app.run(main)
