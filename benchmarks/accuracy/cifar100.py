"""Methods of self-distillation, and what costs nothing, on 10,000 CIFAR-100 images.

    python -m benchmarks.accuracy.cifar100

trains the thin ResNet-18 (16-32-64-128 channels) on the first 100 images of each
class, batch 64, cosine from 0.1, momentum 0.9, L2 5e-4, pad-crop-flip, 30 epochs
unless said: plainly, with label smoothing, Mixup and CutMix, and with every method; and
plainly for as long, by the clock, as FRSKD and MixSKD took. Last-epoch weights; nothing
is chosen on test images. It says first how long it will take. Finished runs are kept in
--run_dir, so an interrupted benchmark goes on where it was; the table and the picture
are written after every run.
"""

import functools
import json
import pathlib
import statistics
import time

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags

from benchmarks import kept_runs, reports
from benchmarks.accuracy import cifar100_report
from benchmarks.accuracy.cifar100_legs import TABLES
from benchmarks.accuracy.recipe import compiled
from benchmarks.cost import clock
from examples.data.prepared import load_data
from examples.results.class_results import score
from keras_selfkd.method import dtype_policy

FLAGS = flags.FLAGS
flags.DEFINE_string("data_dir", None, "Directory of prepared TFDS data sets.")
flags.DEFINE_bool("download", True, "Let TFDS download what --data_dir does not hold.")
flags.DEFINE_integer("epochs", 30, "Epochs of most runs.", lower_bound=1)
flags.DEFINE_string(
    "run_dir", "benchmarks/accuracy/cifar100_runs", "Where finished runs are kept."
)
flags.DEFINE_enum(
    "table",
    "cifar100",
    list(TABLES),
    "cifar100: all methods; cheaper: FRSKD where it costs less.",
)
flags.DEFINE_bool("train", True, "Train what is missing, not only write the table.")
flags.DEFINE_bool("readme", False, "Write the table into README.md as well.")
flags.DEFINE_string(
    "output", None, "Table and picture, no suffix; by default beside this file."
)

flags.register_multi_flags_validator(
    ["table", "readme"],
    lambda given: given["table"] == "cifar100" or not given["readme"],
    "README.md has a place for --table=cifar100 alone",
)

TEST_EVERY = 5
CHANNELS = (16, 32, 64, 128)
PLAIN_MINUTES = 5.5  # Of 30 epochs on 2 CPU cores, for the plan.


def legs():
    return TABLES[FLAGS.table]


def path_of(name, seed):
    epochs = legs()[name].epochs or FLAGS.epochs
    slug = name.split(":")[0].replace(",", "").replace(" ", "_")
    return pathlib.Path(FLAGS.run_dir) / f"{slug}-{epochs}-{seed}.json"


def planned():
    """The runs in their order: first one seed of each leg."""
    runs = [(seed, name) for name, leg in legs().items() for seed in range(leg.seeds)]
    return [run_of(name, seed) for seed, name in sorted(runs, key=lambda run: run[0])]


def run_of(name, seed):
    leg = legs()[name]
    minutes = PLAIN_MINUTES * leg.cost * (leg.epochs or FLAGS.epochs) / 30
    path, train = path_of(name, seed), functools.partial(trained, name, seed)
    return kept_runs.Run(name, seed, path, train, minutes=minutes)


def times(name):
    """How long a leg's steps take, measured once and kept beside the runs.

    Returns:
        Dict: `ratio` to plain training's, in turns, and `plain_minutes_an_epoch`.
    """
    # Of one table, so that its legs are timed with the same code.
    path = pathlib.Path(FLAGS.run_dir) / f"times_{FLAGS.table}.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if name not in known:
        data = load(seed=0)
        batch = tf.data.Dataset.from_tensors(next(iter(data.train()))).repeat()
        models = [build(legs()[leg], data, 1000) for leg in ("plain", name)]
        for model in models:
            clock.seconds(model, batch, 5)
        turns = [[clock.seconds(m, batch, 20) / 20 for m in models] for _ in range(5)]
        plain = statistics.median(plain for plain, _ in turns)
        known[name] = {
            "ratio": statistics.median(own / plain for plain, own in turns),
            "plain_minutes_an_epoch": plain * data.steps_per_epoch / 60,
        }
        reports.write_text(path, json.dumps(known, indent=1))
    return known[name]


def epochs_of(name):
    leg = legs()[name]
    if leg.as_long_as:
        return round(FLAGS.epochs * times(leg.as_long_as)["ratio"])
    return leg.epochs or FLAGS.epochs


def load(seed):
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    return load_data(
        "cifar100",
        data_dir=FLAGS.data_dir,
        download=FLAGS.download,
        train_per_class=100,
        batch_size=64,
        seed=seed,
    )


def build(leg, data, steps):
    """A compiled model for a leg that trains for some steps."""
    taps = leg.taps and [f"stage{i}_block2_out" for i in range(1, 5)][-leg.taps :]
    with dtype_policy(keras.DTypePolicy(leg.dtype_policy)):
        return compiled(
            data,
            CHANNELS,
            leg.method(),
            steps,
            taps,
            leg.warmup_epochs * data.steps_per_epoch,
        )


def trained(name, seed):
    """The history and the scores of a leg's training."""
    leg = legs()[name]
    epochs = epochs_of(name)
    data = load(seed)
    steps = epochs * data.steps_per_epoch
    model = build(leg, data, steps)
    training, test = data.train(), data.test
    if leg.label_smoothing:
        model.compile(
            model.optimizer,
            keras.losses.CategoricalCrossentropy(
                from_logits=True, label_smoothing=leg.label_smoothing
            ),
            metrics=["accuracy"],
        )
        training, test = (
            dataset.map(lambda x, y: (x, keras.ops.one_hot(y, data.classes)))
            for dataset in (training, test)
        )
    start = time.time()
    history = model.fit(
        training,
        steps_per_epoch=data.steps_per_epoch,
        epochs=epochs,
        shuffle=False,
        validation_data=test,
        validation_freq=TEST_EVERY,
        verbose=2,
    ).history
    seconds = time.time() - start
    labels = np.concatenate([labels for _, labels in data.test])
    logits = model.predict(data.test, verbose=0)
    scores = rate(logits, labels)
    return {"epochs": epochs, "seconds": seconds, "history": history, **scores}


def rate(logits, labels):
    """Accuracy, calibration and negative log-likelihood on the test set."""
    logits = np.asarray(logits, "float32")  # Not in bfloat16, whose mean loses all.
    log_likelihood = keras.ops.convert_to_numpy(keras.ops.log_softmax(logits))
    nll = -float(log_likelihood[np.arange(len(labels)), labels].mean())
    return {**score(logits, labels), "nll": nll}


def main(_):
    kept_runs.carry_out(planned(), report, FLAGS.train)


def report(results):
    cifar100_report.write(
        pathlib.Path(FLAGS.output or f"benchmarks/accuracy/{FLAGS.table}"),
        results,
        {name: times(name) for name in legs() if path_of(name, 0).exists()},
        unfinished=len(planned()) - len(results),
        table=FLAGS.table,
        in_readme=FLAGS.readme,
    )


if __name__ == "__main__":
    app.run(main)
