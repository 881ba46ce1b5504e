"""Trainings killed and started again: `python -m benchmarks.reliability.resume`.

Runs examples.train_classifier, with FRSKD and with MixSKD (which draws at random) in
turns, in processes that are killed with SIGKILL at random steps (the first among them),
while weights are written, between a file's writing and its renaming, and during an
export; starts the same command again; and compares history, scores and the weights of
both students with a run that nothing interrupted. Writes what came out into
benchmarks/reliability/reliability.md. About 15 minutes on 2 CPU cores.
"""

import pathlib
import random
import tempfile

from absl import app, flags

from benchmarks import reports
from tests.processes import kills

TRIALS = flags.DEFINE_integer("trials", 20, "Number of kills.", lower_bound=4)
SEED = flags.DEFINE_integer("seed", 0, "Decides where they happen.")

METHODS = ("frskd", "mixskd")
# Calls of a point that a whole run makes at least.
CALLS = {"step": 16, "writing": 600, "renaming": 20, "export": 2, "saved model": 1}
NAMES = {
    "step": "before a step",
    "writing": "while weights are written",
    "renaming": "between writing and renaming a file",
    "export": "in the export of a LiteRT file",
    "saved model": "in the export of a SavedModel",
}


def planned():
    """Methods, points and calls of the trials; the first kills before a first step."""
    rng = random.Random(SEED.value)
    trials = range(TRIALS.value)
    points = [list(CALLS)[i % len(CALLS)] for i in trials]
    calls = [rng.randint(1, CALLS[point]) for point in points]
    methods = [METHODS[i // len(CALLS) % len(METHODS)] for i in trials]
    return list(zip(methods, points, [1, *calls[1:]], strict=True))


def main(_):
    rows = "| method | killed | at call | same as never killed |\n|---|---|---|---|\n"
    same = []
    with tempfile.TemporaryDirectory() as scratch:
        for method in METHODS:
            kills.run(pathlib.Path(scratch, method), method=method)
        for number, (method, point, call) in enumerate(planned(), start=1):
            folder = pathlib.Path(scratch, str(number))
            if not kills.run(folder, point, call, method):
                raise RuntimeError(f"The run ended before call {call} of {point}")
            kills.run(folder, method=method)
            same.append(kills.equal(folder, pathlib.Path(scratch, method)))
            cells = method, NAMES[point], str(call), "yes" if same[-1] else "NO"
            rows += f"| {' | '.join(cells)} |\n"
            print(f"{number} of {TRIALS.value}:", *cells, flush=True)
    text = (
        f"`{reports.command()}`, {reports.machine()}.\n\n"
        f"{sum(same)} of {len(same)} runs that were killed and "
        "started again by the same command ended with the history, the scores and, to "
        "the last bit, both students' weights of a run that nothing interrupted.\n\n"
        f"{rows}"
    )
    reports.write_between_markers(
        "benchmarks/reliability/reliability.md", "resume", text
    )


if __name__ == "__main__":
    app.run(main)
