"""What a training step costs: time and peak memory of every method, side by side.

    python -m benchmarks.step_time

trains plain Keras models and every method on the same batch, in one process and in
turns (A B A B), and prints each one's seconds a step as a multiple of plain `fit`'s in
the same turn. Beside it stands the ratio of multiply-adds, counted from the graphs:
what a step must cost at least. Peak memory and the time to the first step (tracing
included) are those of a fresh process for each. Writes benchmarks/step_time.md. Takes
about 20 minutes on 2 CPU cores; nothing else may run beside it.
"""

import pathlib
import statistics
import subprocess
import sys
import time

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags

from benchmarks import reports
from benchmarks.clock import seconds
from benchmarks.student_table import multiply_adds
from examples.students import build_student
from keras_selfkd import FRSKD, FRSKD_SLA, MixSKD, SelfDistillationModel, Supervised
from keras_selfkd.graph import has_graph

FLAGS = flags.FLAGS
flags.DEFINE_list("students", ["resnet18:32", "MobileNetV2:96"], "name:size in pixels.")
flags.DEFINE_integer("batch_size", 64, "Images of a step.", lower_bound=1)
flags.DEFINE_integer("rounds", 5, "Turns of all legs.", lower_bound=1)
flags.DEFINE_integer("steps", 3, "Steps of each leg in a turn.", lower_bound=1)
flags.DEFINE_string("output", "benchmarks/step_time.md", "The table.")
flags.DEFINE_string("alone", None, "A leg to start in this process, for its memory.")

CLASSES = 100
PLAIN = "plain `fit`"
WITHOUT_XLA = "plain `fit`, `jit_compile=False`"
# Wide last maps want a narrow self-teacher: README, "Supported students".
NARROW = {"MobileNetV2": {"channels": 64}}


def legs(student):
    """Methods by name; `None` for plain Keras."""
    size = NARROW.get(student, {})
    return {
        PLAIN: None,
        WITHOUT_XLA: None,
        "Supervised": Supervised,
        "FRSKD": lambda: FRSKD(**size),
        "FRSKD_SLA": lambda: FRSKD_SLA(**size),
        "MixSKD": MixSKD,
    }


def build(leg, student, size):
    """A compiled model for one leg."""
    keras.utils.set_random_seed(0)
    model = build_student(student, (size, size, 3), CLASSES)
    create = legs(student)[leg]
    if create is not None:
        model = SelfDistillationModel(model, create())
    options = {} if leg == PLAIN else {"jit_compile": False}
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer = keras.optimizers.SGD(0.01, momentum=0.9)
    model.compile(optimizer, loss, metrics=["accuracy"], **options)
    return model


def batches(size):
    """The same batch for ever, so that no reading is timed."""
    images = np.random.default_rng(0).random((FLAGS.batch_size, size, size, 3))
    labels = np.arange(FLAGS.batch_size) % CLASSES
    batch = images.astype("float32"), labels
    return tf.data.Dataset.from_tensors(batch).repeat().prefetch(1)


def operations(model, size):
    """Multiply-adds of a forward pass for one image of the user's batch."""
    image = (size, size, 3)
    method = getattr(model, "method", None)
    if method is None:
        return multiply_adds(model, [image])
    images = np.zeros((2, *image), "float32")
    labels = np.zeros(2, "int32")
    batch = {"x": images, "y": labels, "sample_weight": None, "valid": None}
    views = len(method.prepare(batch)["x"]) / 2
    grown = method._flatten_layers(include_self=False, recursive=False)
    networks = [model.student, *filter(has_graph, grown)]
    shapes = ([tensor.shape[1:] for tensor in n.inputs] for n in networks)
    return views * sum(map(multiply_adds, networks, shapes))


def alone(leg, student, size):
    """Trains one leg and prints MiB after importing, at the peak, and seconds."""
    before = peak()
    data = batches(size)
    start = time.perf_counter()
    model = build(leg, student, size)
    seconds(model, data, 1)
    first = time.perf_counter() - start
    seconds(model, data, 2)
    print(before, peak(), first)


def peak():
    """This process's largest memory so far, in MiB (Linux).

    Not `ru_maxrss`, which a child inherits from its parent.
    """
    status = pathlib.Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) / 2**10


def in_a_fresh_process(leg, student, size):
    """Peak MiB, MiB above importing, and seconds to the first step's end."""
    command = [sys.executable, "-m", "benchmarks.step_time", f"--alone={leg}"]
    command += [f"--students={student}:{size}", f"--batch_size={FLAGS.batch_size}"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    before, most, first = map(float, done.stdout.splitlines()[-1].split())
    return most, most - before, first


def compare(student, size):
    """Measures all legs on one student; returns the rows of its table."""
    names = list(legs(student))
    fresh = {leg: in_a_fresh_process(leg, student, size) for leg in names}
    data = batches(size)
    models = {leg: build(leg, student, size) for leg in names}
    for model in models.values():
        seconds(model, data, 1)
    turns = []
    for turn in range(FLAGS.rounds):
        there_and_back = names if turn % 2 == 0 else names[::-1]
        turns.append(
            {leg: seconds(models[leg], data, FLAGS.steps) for leg in there_and_back}
        )
        shown = ", ".join(
            f"{leg} {time / FLAGS.steps:.2f}" for leg, time in turns[-1].items()
        )
        print(f"{student}, turn {turn + 1} of {FLAGS.rounds}: {shown} s", flush=True)
    plain = min(
        (PLAIN, WITHOUT_XLA), key=lambda leg: statistics.median(t[leg] for t in turns)
    )
    rows = ""
    for leg in names:
        median = statistics.median(turn[leg] for turn in turns)
        ratios = [turn[leg] / turn[plain] for turn in turns]
        ratio = statistics.median(ratios)
        floor = operations(models[leg], size) / operations(models[plain], size)
        most, above, first = fresh[leg]
        of_plain = [value / fresh[plain][i] for i, value in enumerate(fresh[leg])]
        cells = [
            leg,
            f"{FLAGS.batch_size * FLAGS.steps / median:.1f}",
            f"{ratio:.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
            f"{floor:.2f}",
            f"{ratio / floor:.2f}",
            f"{most:,.0f} ({of_plain[0]:.2f})",
            f"{above:,.0f} ({of_plain[1]:.2f})",
            f"{first:.1f} ({of_plain[2]:.2f})",
        ]
        rows += f"| {' | '.join(cells)} |\n"
    return rows


HEADER = """\
| leg | images/s | time, plain = 1: median (from to) | multiply-adds, plain = 1 \
| time / multiply-adds | peak memory, MiB (plain = 1) | above importing \
| first step, s (plain = 1) |
|---|---|---|---|---|---|---|---|
"""


def main(_):
    students = [entry.rsplit(":", 1) for entry in FLAGS.students]
    if FLAGS.alone:
        alone(FLAGS.alone, students[0][0], int(students[0][1]))
        return
    text = (
        f"# Cost of a training step\n\n`python -m benchmarks.step_time`, "
        f"{reports.machine()}. Batch {FLAGS.batch_size}, {CLASSES} classes, "
        f"{FLAGS.rounds} turns of {FLAGS.steps} steps. Plain is the faster of its two "
        "legs (on a CPU they are the same).\n\n"
    )
    for student, size in students:
        text += f"## {student}, {size}x{size}\n\n"
        if student in NARROW:
            text += f"FRSKD and FRSKD_SLA with {NARROW[student]}.\n\n"
        text += f"{HEADER}{compare(student, int(size))}\n"
        keras.utils.clear_session()
        reports.write_text(pathlib.Path(FLAGS.output), text)
    print(text)


if __name__ == "__main__":
    app.run(main)
