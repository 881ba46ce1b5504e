"""Trainings killed and started again: `python -m benchmarks.resume`.

Runs examples.train_classifier in processes that are killed with SIGKILL at random steps
(the first among them), while weights are written, between a file's writing and its
renaming, and during an export; starts the same command again; and compares history,
scores and the weights of both students with a run that nothing interrupted. Writes what
came out into benchmarks/reliability.md. About 15 minutes on 2 CPU cores.
"""

import pathlib
import random
import tempfile

from absl import app, flags

from benchmarks import reports
from tests import kills

TRIALS = flags.DEFINE_integer("trials", 20, "Number of kills.", lower_bound=4)
SEED = flags.DEFINE_integer("seed", 0, "Decides where they happen.")

# Calls of a point that a whole run makes at least.
CALLS = {"step": 16, "writing": 600, "renaming": 20, "export": 3}
NAMES = {
    "step": "before a step",
    "writing": "while weights are written",
    "renaming": "between writing and renaming a file",
    "export": "in an export",
}


def planned():
    """Points and calls of the trials; the first kills before the first step."""
    rng = random.Random(SEED.value)
    points = [list(CALLS)[i % len(CALLS)] for i in range(TRIALS.value)]
    calls = [rng.randint(1, CALLS[point]) for point in points]
    return list(zip(points, [1, *calls[1:]], strict=True))


def main(_):
    rows = "| killed | at call | same as never killed |\n|---|---|---|\n"
    same = []
    with tempfile.TemporaryDirectory() as scratch:
        expected = pathlib.Path(scratch, "whole")
        kills.run(expected)
        for number, (point, call) in enumerate(planned(), start=1):
            folder = pathlib.Path(scratch, str(number))
            if not kills.run(folder, point, call):
                raise RuntimeError(f"The run ended before call {call} of {point}")
            kills.run(folder)
            same.append(kills.equal(folder, expected))
            rows += f"| {NAMES[point]} | {call} | {'yes' if same[-1] else 'NO'} |\n"
            print(f"{number} of {TRIALS.value}: {point} {call}, {same[-1]}", flush=True)
    text = (
        f"`python -m benchmarks.resume --trials={TRIALS.value} --seed={SEED.value}`, "
        f"{reports.machine()}.\n\n{sum(same)} of {len(same)} runs that were killed and "
        "started again by the same command ended with the history, the scores and, to "
        "the last bit, both students' weights of a run that nothing interrupted.\n\n"
        f"{rows}"
    )
    reports.write_between_markers("benchmarks/reliability.md", "resume", text)


if __name__ == "__main__":
    app.run(main)
