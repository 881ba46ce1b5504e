"""The default weight of a feature loss, chosen on validation images.

    python -m benchmarks.accuracy.feature_weight --feature_loss=normalized_mse

trains a ResNet-18 of 8-16-32-64 channels on the first 20 images of each CIFAR-100
class with FRSKD, a feature loss, several weights and seeds, and compares the accuracy
on the next 50 training images of each class; test images are not looked at. Otherwise
the recipe is that of cifar100.py. Takes about 20 minutes on 2 CPU cores. Finished runs
are kept, so an interrupted benchmark goes on where it was.
"""

import functools
import pathlib

import keras
from absl import app, flags

from benchmarks import kept_runs, reports
from benchmarks.accuracy.recipe import compiled
from examples.data.prepared import load_data
from keras_selfkd import FRSKD, Supervised, losses

FLAGS = flags.FLAGS
flags.DEFINE_string("data_dir", None, "Directory of prepared TFDS data sets.")
flags.DEFINE_bool("download", True, "Let TFDS download what --data_dir does not hold.")
flags.DEFINE_enum(
    "feature_loss", "normalized_mse", ["normalized_mse", "fitnet_hint"], "Which one."
)

PLAIN = "plain training"
WEIGHTS = {
    "normalized_mse": (0.0, 0.1, 0.3, 1.0, 3.0, 10.0),
    "fitnet_hint": (0.0, 0.1, 1.0, 10.0, 100.0),
}
SEEDS, EPOCHS = 2, 30
# After one seed.
FAR_OFF = {"normalized_mse": (1.0, 3.0, 10.0), "fitnet_hint": ()}


def method(leg):
    if leg == PLAIN:
        return Supervised()
    feature_loss = getattr(losses, FLAGS.feature_loss)
    return FRSKD(feature_loss=feature_loss, feature_weight=leg)


def trained(leg, seed):
    """The share of the validation images that the trained student gets right."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    data = load_data(
        "cifar100",
        data_dir=FLAGS.data_dir,
        download=FLAGS.download,
        train_per_class=20,
        validation_per_class=50,
        batch_size=64,
        seed=seed,
    )
    steps = EPOCHS * data.steps_per_epoch
    model = compiled(data, (8, 16, 32, 64), method(leg), steps)
    model.fit(
        data.train(),
        steps_per_epoch=data.steps_per_epoch,
        epochs=EPOCHS,
        shuffle=False,
        verbose=0,
    )
    return {"accuracy": model.evaluate(data.validation, verbose=0)[1]}


def planned():
    """The runs in their order: first one seed of each weight."""
    folder = pathlib.Path("benchmarks/accuracy/feature_weight_runs")
    return [
        kept_runs.Run(
            str(leg),
            seed,
            folder / f"{FLAGS.feature_loss}-{leg}-{seed}.json",
            functools.partial(trained, leg, seed),
        )
        for seed in range(SEEDS)
        for leg in (PLAIN, *WEIGHTS[FLAGS.feature_loss])
        if not (seed and leg in FAR_OFF[FLAGS.feature_loss])
    ]


def report(results):
    columns = {"validation accuracy, %": kept_runs.percent(accuracy)}
    table = kept_runs.table(results, columns, lambda run: 100 * accuracy(run), PLAIN)
    text = (
        f"`{reports.command()}`, {reports.machine()}. 2,000 CIFAR-100 images, {EPOCHS} "
        f"epochs, FRSKD with constant weights; 5,000 validation images.\n\n{table}\n"
    )
    path = f"benchmarks/accuracy/{FLAGS.feature_loss}_weight.md"
    reports.write_record(path, f"Weight of `{FLAGS.feature_loss}`", text)


def accuracy(run):
    return run["accuracy"]


def main(_):
    kept_runs.carry_out(planned(), report)


if __name__ == "__main__":
    app.run(main)
