"""Says whether training waits for its data: `python -m benchmarks.data_speed`.

Times, in one process and in turns, the input pipeline alone and the plain training
step alone on one batch, for the digits and for generated images of CIFAR's size, with
the smallest and the thin student; writes benchmarks/data_speed.md. The ratio says how
many times faster images come than the step takes them.
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

ROUNDS, STEPS = 5, 10
HEADER = """\
| data | student | batch | pipeline, images/s | plain step, images/s | ratio |
|---|---|---|---|---|---|
"""


def color_folders(root):
    """Writes 1,000 noise images of 32x32 pixels in 10 class folders."""
    random = np.random.default_rng(0)
    for label in range(10):
        folder = root / f"class{label}"
        folder.mkdir()
        for i in range(100):
            pixels = random.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{i}.png")


def seconds(function):
    start = time.perf_counter()
    for _ in range(STEPS):
        function()
    return (time.perf_counter() - start) / STEPS


def row(name, data, student_name, batch_size):
    student = build_student(student_name, data.image_shape, data.classes)
    model = SelfDistillationModel(student, Supervised())
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), loss)
    batches = iter(data.train())
    batch = next(batches)
    model.train_on_batch(*batch)
    times = [
        (seconds(lambda: next(batches)), seconds(lambda: model.train_on_batch(*batch)))
        for _ in range(ROUNDS)
    ]
    pipeline, step = (
        batch_size / statistics.median(t) for t in zip(*times, strict=True)
    )
    ratio = statistics.median(step / pipeline for pipeline, step in times)
    speeds = f"{pipeline:,.0f} | {step:,.0f} | {ratio:.0f}"
    return f"| {name} | {student_name} | {batch_size} | {speeds} |\n"


def main(_):
    table = HEADER
    with tempfile.TemporaryDirectory() as folder:
        color_folders(pathlib.Path(folder))
        sets = {
            "digits, 32x32x1": load_data("digits", batch_size=32),
            "folder, 32x32x3": load_data("folder", folder, batch_size=64),
        }
        sizes = (32, 64)
        for (name, data), batch_size in zip(sets.items(), sizes, strict=True):
            for student in ("small_resnet", "thin_resnet18"):
                table += row(name, data, student, batch_size)
    text = (
        f"# Data speed\n\n`python -m benchmarks.data_speed`, {reports.machine()}.\n\n"
    )
    reports.write_text(pathlib.Path("benchmarks/data_speed.md"), text + table)
    print(text + table)


if __name__ == "__main__":
    app.run(main)
