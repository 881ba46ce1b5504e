"""Do long trainings stay as they are? `python -m benchmarks.reliability.endurance`.

Trains every method for 2,000 steps on tiny data, each in a process of its own, and
writes down how memory grows, how many times the step was traced and whether files stay
open, into benchmarks/reliability/reliability.md. About 10 minutes on 2 CPU cores.
"""

import json
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
from absl import app, flags

from benchmarks import reports
from keras_selfkd import SelfDistillationModel
from tests import toys
from tests.methods.cases import CASES

STEPS = flags.DEFINE_integer("steps", 2000, "Steps of each method.", lower_bound=400)
METHOD = flags.DEFINE_string("method", None, "Trains this one, in this process.")
EPOCH = 100


class Watch(keras.callbacks.Callback):
    """Notes the process's memory, in MiB, and its open files after each epoch."""

    def __init__(self):
        super().__init__()
        self.memory, self.files = [], []

    def on_epoch_end(self, epoch, logs=None):
        pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
        self.memory.append(pages * os.sysconf("SC_PAGE_SIZE") / 2**20)
        self.files.append(len(os.listdir("/proc/self/fd")))


def train(method):
    """Trains one method, and prints what was seen as JSON."""
    keras.utils.set_random_seed(0)
    traces = []

    class Traced(SelfDistillationModel):
        def train_step(self, data):
            traces.append(data)
            return super().train_step(data)

    model = Traced(toys.classifier(), CASES[method].method())
    model.compile(keras.optimizers.SGD(0.01), toys.cross_entropy(), metrics=["acc"])
    watch = Watch()
    # The last batch of an epoch is partial.
    images, labels = toys.class_data(8 * EPOCH - 4)
    model.fit(
        images,
        labels,
        batch_size=8,
        epochs=STEPS.value // EPOCH,
        verbose=0,
        callbacks=[watch],
    )
    print(json.dumps([watch.memory, watch.files, len(traces)]))


def row(method):
    command = [
        sys.executable,
        "-m",
        "benchmarks.reliability.endurance",
        f"--method={method}",
    ]
    done = subprocess.run(
        [*command, f"--steps={STEPS.value}"],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    memory, files, traces = json.loads(done.stdout.splitlines()[-1])
    half = len(memory) // 2
    slope, _ = np.polyfit(np.arange(half) * EPOCH, memory[-half:], 1)
    cells = [
        method,
        f"{memory[0]:,.0f}",
        f"{memory[-1]:,.0f}",
        f"{1000 * slope:+.2f}",
        str(traces),
        f"{files[-1] - files[0]:+d}",
    ]
    print(", ".join(cells), flush=True)
    return f"| {' | '.join(cells)} |\n"


def main(_):
    if METHOD.value:
        train(METHOD.value)
        return
    text = (
        f"`{reports.command()}`, {reports.machine()}. "
        f"The last of {EPOCH} batches of an epoch is partial.\n\n"
        f"| method | MiB after {EPOCH} steps | MiB after {STEPS.value:,} | MiB in "
        "1,000 steps, over the second half | traces of the step | more open files |\n"
        "|---|---|---|---|---|---|\n"
    )
    text += "".join(map(row, CASES))
    reports.write_between_markers(
        "benchmarks/reliability/reliability.md", "endurance", text
    )


if __name__ == "__main__":
    app.run(main)
