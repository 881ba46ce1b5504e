"""The demo's training by one process and by two workers.

    python -m benchmarks.reliability.two_workers

runs `python -m examples.train_classifier --method=frskd` in one process and as two
workers of this machine, writes both results into reliability.md and the first worker's
log to two_workers.log. About ten minutes on 2 cores.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

from absl import app

from benchmarks import reports
from tests.processes import workers

LOG = pathlib.Path("benchmarks/reliability/two_workers.log")


def arguments(folder):
    return ["--method=frskd", "--noexport", "--verbose=2", f"--run_dir={folder}"]


def train_alone(folder):
    command = [sys.executable, "-m", "examples.train_classifier", *arguments(folder)]
    subprocess.run(command, check=True)


def train_by_two(folder):
    own = [*arguments(folder), "--strategy=multi_worker"]
    processes = workers.start("examples.train_classifier", [own, own])
    outputs = workers.outputs_of(processes, timeout=3600)
    if any(process.returncode for process in processes):
        raise RuntimeError(f"A worker failed: {outputs}")
    reports.write_text(LOG, outputs[0].replace(str(folder), "runs/two"))


def rows(name, folder):
    """A row of the table for each method of a run."""
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    for method, score in result["scores"].items():
        low, high = score["interval"]
        yield (
            f"| {name} | {reports.label(method)} | {100 * score['accuracy']:.2f} "
            f"| {100 * low:.2f} - {100 * high:.2f} |"
        )


def main(_):
    with tempfile.TemporaryDirectory() as root:
        one, two = pathlib.Path(root) / "one", pathlib.Path(root) / "two"
        train_alone(one)
        train_by_two(two)
        lines = [*rows("one process", one), *rows("two workers", two)]
    text = (
        f"`{reports.command()}`, {reports.machine()}. The digits, 1,297 "
        f"test images; the first worker's log is [{LOG.name}]({LOG.name}).\n\n"
        "| | method | test accuracy, % | 95 % interval |\n|---|---|---|---|\n"
    )
    text += "\n".join([*lines, ""])
    path = pathlib.Path("benchmarks/reliability/reliability.md")
    reports.write_between_markers(path, "two_workers", text)


if __name__ == "__main__":
    app.run(main)
