"""Says whether training waits for its data: `python -m benchmarks.cost.data_speed`.

Times in turns, in one process, the training pipeline alone and the plain training step
alone on one batch, with and without mixing (which is part of the step, over the whole
batch at once): for the digits, and for folders of generated images, PNG files of
CIFAR's size and JPEG files of 224x224 pixels, each with its fastest student; writes
data_speed.md. The ratio says how many times faster images come than the step takes
them.
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
from examples.data.prepared import load_data
from examples.students.by_name import build_student
from keras_selfkd import CutMix, Mixup, SelfDistillationModel, Supervised

ROUNDS, BATCHES, STEPS = 5, 200, 20
MIXINGS = {"": None, "Mixup": Mixup(0.2), "CutMix": CutMix(1.0)}
HEADER = """\
| data | student | batch | mixing | pipeline, images/s | step, images/s | ratio |
|---|---|---|---|---|---|---|
"""


def write_folders(root, count, size, suffix):
    """Writes cloudy images of `size` x `size` pixels in 10 class folders."""
    random = np.random.default_rng(0)
    for i in range(count):
        folder = root / f"class{i % 10}"
        folder.mkdir(exist_ok=True, parents=True)
        pixels = random.integers(0, 256, (size // 8, size // 8, 3), dtype=np.uint8)
        image = Image.fromarray(pixels).resize((size, size), Image.Resampling.BICUBIC)
        image.save(folder / f"{i}.{suffix}")


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


def row(name, data, student_name, batch_size, mixing):
    """Times one data set with one student and mixing: a row of the table."""
    student = build_student(student_name, data.image_shape, data.classes)
    model = SelfDistillationModel(student, Supervised(mixing=MIXINGS[mixing]))
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
        mixing,
        f"{batch_size / statistics.median(pipeline):,.0f}",
        f"{batch_size / statistics.median(step):,.0f}",
        f"{statistics.median(ratios):.1f} ({min(ratios):.1f} - {max(ratios):.1f})",
    ]
    return f"| {' | '.join(cells)} |\n"


def main(_):
    table = HEADER
    with tempfile.TemporaryDirectory() as folder:
        small, large, many = (pathlib.Path(folder) / name for name in "abc")
        write_folders(small, 1000, 32, "png")
        write_folders(large, 300, 224, "jpg")
        # Above 1 GiB to train on, so that they are streamed.
        write_folders(many / "train", 7300, 224, "jpg")
        write_folders(many / "test", 100, 224, "jpg")
        sets = {
            "digits, 32x32x1": ("small_resnet", 32, {"dataset": "digits"}),
            "PNG files, 32x32x3": (
                "small_resnet",
                64,
                {"dataset": "folder", "data_dir": small, "image_size": (32, 32)},
            ),
            "300 JPEG files, 224x224x3": (
                "MobileNetV3Small",
                32,
                {"dataset": "folder", "data_dir": large, "image_size": (224, 224)},
            ),
            "7,300 JPEG files, 224x224x3, streamed": (
                "MobileNetV3Small",
                32,
                {"dataset": "folder", "data_dir": many, "image_size": (224, 224)},
            ),
        }
        for name, (student, batch_size, source) in sets.items():
            data = load_data(**source, batch_size=batch_size)
            for mixing in MIXINGS:
                table += row(name, data, student, batch_size, mixing)
                print(table.splitlines()[-1], flush=True)
    text = (
        f"# Data speed\n\n`python -m benchmarks.cost.data_speed`, {reports.machine()}. "
        f"Median of {ROUNDS} rounds, each the pipeline and then the step; the range "
        f"of their ratios in brackets.\n\n{table}"
    )
    reports.write_text(pathlib.Path("benchmarks/cost/data_speed.md"), text)


if __name__ == "__main__":
    app.run(main)
