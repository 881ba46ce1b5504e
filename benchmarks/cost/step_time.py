"""What a training step costs: time and peak memory of every method, side by side.

    python -m benchmarks.cost.step_time

trains plain Keras models, every method and Keras's own distillation on the same batch,
in one process and in turns (A B A B), and prints each one's seconds a step as a
multiple of plain `fit`'s in the same turn. Beside it stands the ratio of multiply-adds,
counted from the graphs: what a step must cost at least. Peak memory and the time to the
first step (building and tracing included) are those of fresh processes. Writes
step_time.md and .png, after every student. `--cheaper` times FRSKD's cheaper settings
instead and writes step_time_cheaper.md and .png. Nothing else may run beside
it. Where there is a GPU it runs there, unchanged.
"""

import pathlib
import statistics
import subprocess
import sys
import time
from functools import partial

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags

from benchmarks.cost import step_time_report
from benchmarks.cost.clock import Clock, fit, in_turns, seconds
from benchmarks.cost.step_time_legs import (
    MANY_STEPS,
    PLAIN,
    STUDENTS,
    WITHOUT_XLA,
    create,
    legs_of,
)
from benchmarks.cost.student_table import multiply_adds
from keras_selfkd.graph import has_graph

FLAGS = flags.FLAGS
flags.DEFINE_list("students", None, "Names, by default all of STUDENTS.")
flags.DEFINE_list("legs", None, "Names of the legs beside plain, by default all.")
flags.DEFINE_bool("cheaper", False, "FRSKD's cheaper settings, not all methods.")
flags.DEFINE_integer("rounds", 7, "Turns of all legs.", lower_bound=1)
flags.DEFINE_integer("steps", 6, "Steps of each leg in a turn.", lower_bound=1)
flags.DEFINE_integer("starts", 3, "Fresh processes of each leg.", lower_bound=1)
flags.DEFINE_string("output", None, "Table and picture, no suffix.")
flags.DEFINE_string("alone", None, "A leg to start in this process, for its memory.")


def legs(name):
    """The legs of this run, by name: plain training first."""
    every = legs_of(name, FLAGS.cheaper)
    if FLAGS.legs:
        return {leg: every[leg] for leg in (PLAIN, WITHOUT_XLA, *FLAGS.legs)}
    return every


def build(leg, name):
    """A compiled model for one leg."""
    keras.utils.set_random_seed(0)
    model = legs(name)[leg](create(name))
    model.compile(
        keras.optimizers.SGD(0.01, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile="auto" if leg == PLAIN else False,
        steps_per_execution=FLAGS.steps if leg == MANY_STEPS else 1,
    )
    return model


def batches(name, model=None):
    """The same batch for ever, so that no reading is timed.

    With what the method of a model needs beside the images.
    """
    size, count, classes, _ = STUDENTS[name]
    random = np.random.default_rng(0)
    shape = create(name).output.shape[1:-1]
    images = random.random((count, *size, 3), "float32")
    labels = random.integers(0, classes, (count, *shape), "int32")
    found = beside(images)
    if needs := needs_of(model):
        images = {"image": images, **{name: found[name] for name in needs}}
    return tf.data.Dataset.from_tensors((images, labels)).repeat().prefetch(1)


def beside(images):
    """All that methods can need beside a batch of images."""
    half = len(images) // 2
    return {
        "index": np.arange(len(images)),
        "pair": images[::-1],
        "view": images[:, :, ::-1],
        "previous": np.append(np.arange(half, len(images)), [-1] * half),
    }


def needs_of(model):
    return getattr(getattr(model, "method", None), "needs", ())


def operations(model):
    """Multiply-adds of a step for one image, over 3: one forward and two backward.

    A network that only runs forward counts a third; another forward pass of the student
    in `prepare` is not counted.
    """
    if isinstance(model, keras.distillation.Distiller):
        return operations(model.student) + operations(model.teacher) / 3
    method = getattr(model, "method", None)
    if method is None:
        return multiply_adds(model, shapes_into(model))
    x = np.zeros((2, *model.student.inputs[0].shape[1:]), "float32")
    y = np.zeros((2, *model.student.output.shape[1:-1]), "int32")
    batch = {"x": x, "y": y, "sample_weight": None, "labelled": None, "valid": None}
    batch |= {"progress": 0.0, "copies": 1, **beside(x)}
    views = len(method.prepare(batch)["x"]) / len(x)
    grown = method._flatten_layers(include_self=False, recursive=False)
    own = sum(multiply_adds(n, shapes_into(n)) for n in grown if has_graph(n))
    return views * (multiply_adds(model.student, shapes_into(model.student)) + own)


def shapes_into(network):
    return [tensor.shape[1:] for tensor in network.inputs]


def alone(leg, name):
    """Trains one leg and prints MiB after importing, at the peak, and seconds."""
    before = peak()
    start = time.perf_counter()
    model = build(leg, name)
    building = time.perf_counter() - start
    data = batches(name, model)
    start = time.perf_counter() - building
    executions = FLAGS.steps if leg == MANY_STEPS else 1
    first = fit(model, data, executions).end - start
    seconds(model, data, 2 * executions)
    print(before, peak(), first)


def peak():
    """This process's largest memory so far, in MiB (Linux).

    Not `ru_maxrss`, which a child inherits from its parent.
    """
    status = pathlib.Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) / 2**10


def in_a_fresh_process(leg, name):
    """Peak MiB, MiB above importing, and seconds to the first step's end."""
    command = [sys.executable, "-m", "benchmarks.cost.step_time", f"--alone={leg}"]
    command += [f"--students={name}", f"--steps={FLAGS.steps}"]
    command += [f"--{'' if FLAGS.cheaper else 'no'}cheaper"]
    # A virtual machine takes seconds for a GiB that it never used: not what is timed.
    np.ones(4 << 30, "uint8")
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    before, most, first = map(float, done.stdout.splitlines()[-1].split())
    return most, most - before, first


def compare(name):
    """Measures all legs on one student.

    Returns:
        Dict from leg to `step_time_report.Cost`, and one from what the bare student and
        FRSKD's model do alike (`evaluate`, `predict`) to the ratios of their times.
    """
    fresh = {leg: [] for leg in legs(name)}
    for turn in range(FLAGS.starts):
        for leg, runs in fresh.items():
            runs.append(in_a_fresh_process(leg, name))
            most, _, first = runs[-1]
            print(
                f"{name}, start {turn + 1} of {FLAGS.starts}: {leg}: first step "
                f"{first:.1f} s, peak {most:,.0f} MiB",
                flush=True,
            )
    models = {leg: build(leg, name) for leg in legs(name)}
    counted = {leg: operations(model) for leg, model in models.items()}
    turns = {
        leg: partial(seconds, model, batches(name, model), FLAGS.steps)
        for leg, model in models.items()
    }
    for turn in turns.values():
        turn()
    times = in_turns(turns, FLAGS.rounds, name)
    costs = {
        leg: step_time_report.Cost(
            [turn / FLAGS.steps for turn in times[leg]],
            counted[leg],
            *(statistics.median(values) for values in zip(*fresh[leg], strict=True)),
            images=STUDENTS[name][1],
        )
        for leg in models
    }
    alike = inference_ratios(models, batches(name).take(FLAGS.steps), name)
    return costs, alike


def inference_ratios(models, data, name):
    """Ratios of the times of FRSKD's model to the bare student's, not of some legs."""
    if FLAGS.legs or FLAGS.cheaper:
        return {}
    ratios = {}
    for task in ("evaluate", "predict"):
        both = {
            f"{task}, {leg}": partial(clocked, getattr(models[leg], task), data)
            for leg in (WITHOUT_XLA, "FRSKD")
        }
        for run in both.values():
            run()
        bare, ours = in_turns(both, FLAGS.rounds, name).values()
        ratios[task] = [b / a for a, b in zip(bare, ours, strict=True)]
    return ratios


def clocked(run, data):
    clock = Clock()
    run(data, verbose=0, callbacks=[clock])
    return clock.seconds


def main(_):
    every = ["resnet18", "MobileNetV2"] if FLAGS.cheaper else list(STUDENTS)
    names = FLAGS.students or every
    if FLAGS.alone:
        alone(FLAGS.alone, names[0])
        return
    suffix = "_cheaper" if FLAGS.cheaper else ""
    path = pathlib.Path(FLAGS.output or f"benchmarks/cost/step_time{suffix}")
    results = {}
    for name in names:
        results[name] = compare(name)
        keras.utils.clear_session()
        step_time_report.write(path, results, FLAGS.rounds, FLAGS.steps)


if __name__ == "__main__":
    app.run(main)
