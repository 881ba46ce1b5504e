"""The default weight of a feature loss, chosen on validation images.

    python -m benchmarks.accuracy.feature_weight --feature_loss=normalized_mse

trains a ResNet-18 of 8-16-32-64 channels on the first 20 images of each CIFAR-100
class with FRSKD, a feature loss, several weights and seeds, and compares the accuracy
on the next 50 training images of each class; test images are not looked at. Otherwise
the recipe is that of benchmarks/accuracy/cifar100.py. Takes about 20 minutes on 2 CPU cores.
Finished runs are kept, so an interrupted benchmark goes on where it was.
"""

import json
import pathlib

import keras
from absl import app, flags

from benchmarks import reports
from benchmarks.accuracy.recipe import compiled
from examples.data.data import load_data
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
READING = {
    "normalized_mse": "In a training this short no weight helps, and large ones harm "
    "most. The default is the smallest that was tried, 0.1. Ramped weights were not "
    "tried.",
    "fitnet_hint": "It has no default weight.",
}


def method(leg):
    if leg == PLAIN:
        return Supervised()
    feature_loss = getattr(losses, FLAGS.feature_loss)
    return FRSKD(feature_loss=feature_loss, feature_weight=leg)


def validation_accuracy(leg, seed):
    """Percent of the validation images that the trained student gets right."""
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
    return 100 * model.evaluate(data.validation, verbose=0)[1]


def write_report(runs, path):
    table = "| weight | seeds | validation accuracy, % |\n|---|---|---|\n"
    for leg in (PLAIN, *WEIGHTS[FLAGS.feature_loss]):
        found = [runs[key] for key in runs if key.startswith(f"{leg}, ")]
        if found:
            table += f"| {leg} | {len(found)} | {reports.mean_std(found)} |\n"
    text = (
        f"# Weight of `{FLAGS.feature_loss}`\n\n`python -m benchmarks.accuracy.feature_weight "
        f"--feature_loss={FLAGS.feature_loss}`, {reports.machine()}. 2,000 CIFAR-100 "
        f"images, {EPOCHS} epochs, FRSKD with constant weights; 5,000 validation "
        f"images.\n\n{table}\n{READING[FLAGS.feature_loss]}\n"
    )
    reports.write_text(path, text)


def main(_):
    stem = f"benchmarks/accuracy/{FLAGS.feature_loss}_weight"
    path = pathlib.Path(f"{stem}.json")
    runs = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for seed in range(SEEDS):
        for leg in (PLAIN, *WEIGHTS[FLAGS.feature_loss]):
            key = f"{leg}, seed {seed}"
            if key not in runs and not (seed and leg in FAR_OFF[FLAGS.feature_loss]):
                runs[key] = validation_accuracy(leg, seed)
                print(f"{key}: {runs[key]:.2f} %", flush=True)
                reports.write_text(path, json.dumps(runs, indent=1))
            write_report(runs, pathlib.Path(f"{stem}.md"))


if __name__ == "__main__":
    app.run(main)
