"""The default weight of `normalized_mse`, chosen on validation images.

    python -m benchmarks.normalized_mse_weight

trains a ResNet-18 of 8-16-32-64 channels on the first 20 images of each CIFAR-100
class with FRSKD, this feature loss, several weights and seeds, and compares the
accuracy on the next 50 training images of each class; test images are not looked at.
Otherwise the recipe is that of benchmarks/cifar100.py. Takes about 20 minutes on 2 CPU
cores. Finished runs are kept in --runs, so an interrupted benchmark goes on where it
was.
"""

import json
import pathlib

import keras
from absl import app, flags

from benchmarks import reports
from benchmarks.recipe import compiled
from examples.data import load_data
from keras_selfkd import FRSKD, Supervised
from keras_selfkd.losses import normalized_mse

FLAGS = flags.FLAGS
flags.DEFINE_string("data_dir", None, "Directory of prepared TFDS data sets.")
flags.DEFINE_bool("download", True, "Let TFDS download what --data_dir does not hold.")
flags.DEFINE_string(
    "runs", "benchmarks/normalized_mse_weight.json", "Where finished runs are kept."
)

PLAIN = "plain training"
LEGS = (PLAIN, 0.0, 0.1, 0.3, 1.0, 3.0, 10.0)
SEEDS, EPOCHS = 2, 30
FAR_OFF = (1.0, 3.0, 10.0)  # After one seed.


def method(leg):
    if leg == PLAIN:
        return Supervised()
    return FRSKD(feature_loss=normalized_mse, feature_weight=leg)


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


def write_report(runs):
    table = "| weight | seeds | validation accuracy, % |\n|---|---|---|\n"
    for leg in LEGS:
        found = [runs[key] for key in runs if key.startswith(f"{leg}, ")]
        if found:
            table += f"| {leg} | {len(found)} | {reports.mean_std(found)} |\n"
    text = (
        "# Weight of `normalized_mse`\n\n`python -m benchmarks.normalized_mse_weight`, "
        f"{reports.machine()}. 2,000 CIFAR-100 images, {EPOCHS} epochs, FRSKD with "
        f"constant weights; 5,000 validation images.\n\n{table}\n"
        "In a training this short no weight helps, and large ones harm most. The "
        "default is the smallest that was tried, 0.1. Ramped weights were not tried.\n"
    )
    reports.write_text(pathlib.Path("benchmarks/normalized_mse_weight.md"), text)


def main(_):
    path = pathlib.Path(FLAGS.runs)
    runs = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for seed in range(SEEDS):
        for leg in LEGS:
            key = f"{leg}, seed {seed}"
            if key not in runs and not (seed and leg in FAR_OFF):
                runs[key] = validation_accuracy(leg, seed)
                print(f"{key}: {runs[key]:.2f} %", flush=True)
                reports.write_text(path, json.dumps(runs, indent=1))
            write_report(runs)


if __name__ == "__main__":
    app.run(main)
