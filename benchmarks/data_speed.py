"""Says whether training waits for its data: `python -m benchmarks.data_speed`.

Times in turns, in one process, the training pipeline alone and the plain training step
alone on one batch, for the digits and for generated images of CIFAR's size, with the
smallest student and the thin ResNet-18; writes benchmarks/data_speed.md. The ratio says
how many times faster images come than the step takes them. Under a minute on 2 cores.
"""

import pathlib
import statistics
import tempfile
import time

import keras
import numpy as np
from absl import app
from PIL import Image

from benchmarks import reports
from examples.data import load_data
from examples.students import build_student
from keras_selfkd import SelfDistillationModel, Supervised

ROUNDS, BATCHES, STEPS = 5, 200, 20
HEADER = """\
| data | student | batch | pipeline, images/s | plain step, images/s | ratio |
|---|---|---|---|---|---|
"""


def write_folders(root):
    """Writes 1,000 noise images of 32x32 pixels in 10 class folders."""
    random = np.random.default_rng(0)
    for i in range(1000):
        folder = root / f"class{i % 10}"
        folder.mkdir(exist_ok=True)
        pixels = random.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")


def seconds(function, times):
    start = time.perf_counter()
    for _ in range(times):
        function()
    return (time.perf_counter() - start) / times


def pipeline_seconds(data):
    # An iterator of its own: its prefetching ends before the step is timed.
    batches = iter(data.train())
    next(batches)
    return seconds(lambda: next(batches), BATCHES)


def row(name, data, student_name, batch_size):
    """Times one data set with one student: a row of the table."""
    student = build_student(student_name, data.image_shape, data.classes)
    model = SelfDistillationModel(student, Supervised())
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), loss)
    batch = next(iter(data.train()))
    model.train_on_batch(*batch)
    pipeline, step = [], []
    for _ in range(ROUNDS):
        pipeline.append(pipeline_seconds(data))
        step.append(seconds(lambda: model.train_on_batch(*batch), STEPS))
    ratios = [slow / fast for fast, slow in zip(pipeline, step, strict=True)]
    cells = [
        name,
        student_name,
        str(batch_size),
        f"{batch_size / statistics.median(pipeline):,.0f}",
        f"{batch_size / statistics.median(step):,.0f}",
        f"{statistics.median(ratios):.0f} ({min(ratios):.0f} - {max(ratios):.0f})",
    ]
    return f"| {' | '.join(cells)} |\n"


def main(_):
    table = HEADER
    with tempfile.TemporaryDirectory() as folder:
        write_folders(pathlib.Path(folder))
        sets = {
            "digits, 32x32x1": (load_data("digits", batch_size=32), 32),
            "folder, 32x32x3": (
                load_data("folder", folder, batch_size=64, image_size=(32, 32)),
                64,
            ),
        }
        for name, (data, batch_size) in sets.items():
            for student in ("small_resnet", "thin_resnet18"):
                table += row(name, data, student, batch_size)
                print(table.splitlines()[-1], flush=True)
    text = (
        f"# Data speed\n\n`python -m benchmarks.data_speed`, {reports.machine()}. "
        f"Median of {ROUNDS} rounds, each the pipeline and then the step; the range "
        f"of their ratios in brackets.\n\n{table}"
    )
    reports.write_text(pathlib.Path("benchmarks/data_speed.md"), text)


if __name__ == "__main__":
    app.run(main)
