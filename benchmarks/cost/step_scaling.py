"""How the cost of a step grows: `python -m benchmarks.cost.step_scaling`.

Times plain training and FRSKD of ResNet-18 in turns while one thing at a time changes:
images of a batch, pixels of an image, taps, width of the self-teacher, classes. Writes
benchmarks/cost/step_scaling.md and a log-log picture. Nothing else may run
beside it.
"""

import pathlib
import statistics
from functools import partial
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags

from benchmarks import reports
from benchmarks.cost.clock import in_turns, seconds
from examples.students.by_name import build_student
from keras_selfkd import FRSKD, SelfDistillationModel, Supervised
from keras_selfkd.files import staging
from keras_selfkd.plots import COLORS

FLAGS = flags.FLAGS
flags.DEFINE_integer("rounds", 5, "Turns of both legs.", lower_bound=1)
flags.DEFINE_integer("steps", 3, "Steps of each leg in a turn.", lower_bound=1)
flags.DEFINE_string("output", "benchmarks/cost/step_scaling", "Table and picture.")


class Setting(NamedTuple):
    """One point of the picture; the defaults are what all lines share."""

    batch: int = 32
    pixels: int = 32
    taps: int = 4
    width: int = 2
    classes: int = 100


# The values of each line, by the field that changes.
LINES = {
    "batch": ("images of a batch", (8, 16, 32, 64, 128)),
    "pixels": ("pixels of an image's side", (16, 32, 64, 96)),
    "taps": ("taps", (2, 3, 4)),
    "width": ("width of the self-teacher", (1, 2, 4)),
    "classes": ("classes", (10, 100, 1000)),
}


def compiled(setting, method, taps):
    keras.utils.set_random_seed(0)
    shape = (setting.pixels, setting.pixels, 3)
    student = build_student("resnet18", shape, setting.classes)
    model = SelfDistillationModel(student, method, taps)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), loss, jit_compile=False)
    return model


def measure(setting):
    """Median seconds of a step, plain and with FRSKD."""
    keras.utils.clear_session()
    taps = [f"stage{i}_block2_out" for i in range(1, 5)][-setting.taps :]
    random = np.random.default_rng(0)
    images = random.random((setting.batch, setting.pixels, setting.pixels, 3))
    labels = np.arange(setting.batch) % setting.classes
    batch = images.astype("float32"), labels
    data = tf.data.Dataset.from_tensors(batch).repeat().prefetch(1)
    models = {
        "plain": compiled(setting, Supervised(), None),
        "FRSKD": compiled(setting, FRSKD(width=setting.width), taps),
    }
    for model in models.values():
        seconds(model, data, FLAGS.steps)
    turns = {leg: partial(seconds, m, data, FLAGS.steps) for leg, m in models.items()}
    times = in_turns(turns, FLAGS.rounds, str(setting))
    return [statistics.median(times[leg]) / FLAGS.steps for leg in models]


def table(results):
    text = (
        "| what changes | to | plain, ms | FRSKD, ms | ratio |\n|---|---|---|---|---|\n"
    )
    for field, points in results.items():
        for value, (plain, ours) in points.items():
            text += f"| {LINES[field][0]} | {value} | {1e3 * plain:.0f} "
            text += f"| {1e3 * ours:.0f} | {ours / plain:.2f} |\n"
    return text


def draw(results, path):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.2 * len(results), 3.4), layout="constrained")
    every = figure.subplots(1, len(results), sharey=True, squeeze=False)[0]
    for axes, (field, points) in zip(every, results.items(), strict=True):
        for i, leg in enumerate(("plain", "FRSKD")):
            times = [1e3 * point[i] for point in points.values()]
            axes.plot(list(points), times, "o-", color=COLORS[i], label=leg)
        axes.set(xscale="log", yscale="log", xlabel=LINES[field][0])
        axes.set_xticks(list(points), [str(value) for value in points])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    every[0].set_ylabel("milliseconds of a step")
    every[0].legend(frameon=False)
    with staging(path) as staged:
        figure.savefig(staged, format="png", dpi=150)


def main(_):
    known, results = {}, {}
    for field, (_, values) in LINES.items():
        results[field] = {}
        for value in values:
            setting = Setting(**{field: value})
            if setting not in known:
                known[setting] = measure(setting)
            results[field][value] = known[setting]
    output = pathlib.Path(FLAGS.output)
    text = (
        f"# How the cost of a step grows\n\n`{reports.command()}`, "
        f"{reports.machine()}. ResNet-18, medians of {FLAGS.rounds} turns of "
        f"{FLAGS.steps} steps; what does not change is {Setting()._asdict()}.\n\n"
        f"![Milliseconds of a step]({output.name}.png)\n\n{table(results)}"
    )
    reports.write_text(output.with_suffix(".md"), text)
    draw(results, output.with_suffix(".png"))
    print(text)


if __name__ == "__main__":
    app.run(main)
