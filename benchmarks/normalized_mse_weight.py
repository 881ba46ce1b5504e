"""The default weight of `normalized_mse`, chosen on validation images.

    python -m benchmarks.normalized_mse_weight

trains the small ResNet on 10 handwritten digits a class with FRSKD and this feature
loss, several weights and seeds, and compares the accuracy on the 200 validation
images (the test images are not looked at). Writes benchmarks/normalized_mse_weight.md.
"""

import pathlib

import keras
from absl import app

from benchmarks import reports
from examples.data import load_data
from examples.optimizers import SGDWithL2, learning_rate_schedule
from examples.students import build_student
from keras_selfkd import FRSKD, SelfDistillationModel, SigmoidRampUp, Supervised
from keras_selfkd.losses import normalized_mse

WEIGHTS = (None, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
SEEDS, EPOCHS, BATCH_SIZE = 5, 80, 25


def method(weight, steps):
    if weight is None:
        return Supervised()
    return FRSKD(
        soft_label_weight=SigmoidRampUp(0, steps, 2.0),
        feature_weight=SigmoidRampUp(0, steps, weight),
        feature_loss=normalized_mse,
        width=1,
    )


def accuracy(weight, seed):
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    data = load_data("digits", train_per_class=10, batch_size=BATCH_SIZE, seed=seed)
    steps = EPOCHS * data.steps_per_epoch
    student = build_student("small_resnet", data.image_shape, data.classes)
    model = SelfDistillationModel(student, method(weight, steps))
    model.compile(
        SGDWithL2(learning_rate_schedule("cosine", 0.1, steps), momentum=0.9, l2=5e-4),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(
        data.train(),
        steps_per_epoch=data.steps_per_epoch,
        epochs=EPOCHS,
        shuffle=False,
        verbose=0,
    )
    return 100 * model.evaluate(data.validation, verbose=0)[1]


def main(_):
    table = "| weight | validation accuracy, % |\n|---|---|\n"
    for weight in WEIGHTS:
        accuracies = [accuracy(weight, seed) for seed in range(SEEDS)]
        name = "plain training" if weight is None else weight
        table += f"| {name} | {reports.mean_std(accuracies)} |\n"
        print(table.splitlines()[-1], flush=True)
    text = (
        "# Weight of normalized_mse\n\n`python -m benchmarks.normalized_mse_weight`, "
        f"{reports.machine()}. 10 images a class, {EPOCHS} epochs, {SEEDS} seeds, "
        f"mean ± standard deviation.\n\n{table}"
    )
    reports.write_text(pathlib.Path("benchmarks/normalized_mse_weight.md"), text)


if __name__ == "__main__":
    app.run(main)
