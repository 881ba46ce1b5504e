"""The segmentation demo over seeds: `python -m benchmarks.accuracy.digit_scenes`.

Runs `python -m examples.train_segmenter` with each seed, and writes what both methods
score on the test scenes to digit_scenes.md. The runs stay in --runs, so that it goes on
where it was. About 3 minutes a seed on 2 CPU cores.
"""

import json
import pathlib
import subprocess
import sys

from absl import app, flags

from benchmarks import kept_runs, reports

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
    found = json.loads((folder / "result.json").read_text())["scores"]
    return [
        {"leg": reports.label(method), "seed": seed, **score}
        for method, score in found.items()
    ]


def main(_):
    runs = [run for seed in range(SEEDS.value) for run in scores(seed)]
    columns = {"mean IoU, %": kept_runs.percent(lambda run: run["mean_iou"])}
    table = kept_runs.table(runs, columns, lambda run: 100 * run["mean_iou"])
    each = kept_runs.each_run(runs, lambda run: run["mean_iou"])
    text = (
        f"`{reports.command()}`, {reports.machine()}. The demo's recipe, 64 training "
        f"scenes, 200 epochs, 240 test scenes, {SEEDS.value} seeds.\n\n{table}\n\n"
        f"{each}\n"
    )
    reports.write_record(OUTPUT.value, "Scenes of digits", text)


if __name__ == "__main__":
    app.run(main)
