"""What `keras.distillation.Distiller` does to a training, and `Taught` in its place.

    python -m benchmarks.reliability.keras_distillation

asks both the same questions on a tiny student and teacher, and writes
benchmarks/reliability/keras_distillation.md. Half a minute.
"""

import functools
import math
import pathlib
import tempfile

import keras
import numpy as np
import tensorflow as tf
from absl import app

from benchmarks import reports
from keras_selfkd import SelfDistillationModel, Taught

OUTPUT = pathlib.Path("benchmarks/reliability/keras_distillation.md")
MOMENTUM = 0.9

TEACHER = 1


def network(l2=0.0, seed=0):
    """A classifier of three classes with one BatchNorm; a seed's weights each time."""
    keras.utils.set_random_seed(seed)
    images = keras.Input((8, 8, 1))
    regularizer = keras.regularizers.L2(l2) if l2 else None
    conv = keras.layers.Conv2D(4, 3, kernel_regularizer=regularizer, name="conv")
    x = keras.layers.BatchNormalization(momentum=MOMENTUM, name="bn")(conv(images))
    x = keras.layers.ReLU(name="map")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(images, keras.layers.Dense(3)(x))


def batch():
    random = np.random.default_rng(0)
    return random.normal(1.0, 1.0, (8, 8, 8, 1)).astype("float32"), np.arange(8) % 3


def distiller(student, teacher, **options):
    """Logits and one map taught, as its guide has it, but the KL of probabilities."""
    losses = [
        keras.distillation.LogitsDistillation(loss=keras.losses.KLDivergence()),
        keras.distillation.FeatureDistillation(
            teacher_layer_name="map", student_layer_name="map"
        ),
    ]
    return compiled(keras.distillation.Distiller(teacher, student, losses), **options)


def taught(student, teacher, **options):
    return compiled(SelfDistillationModel(student, Taught(teacher)), **options)


def compiled(model, optimizer="sgd"):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=optimizer, loss=loss)
    return model


def trained(build, l2=0.0, **fit):
    """The student after one step."""
    student = network(l2)
    build(student, network(seed=TEACHER)).fit(*batch(), batch_size=8, verbose=0, **fit)
    return student


def difference(one, other):
    pairs = zip(one.trainable_weights, other.trainable_weights, strict=True)
    return max(float(np.abs(a.numpy() - b.numpy()).max()) for a, b in pairs)


def updates_a_step(build):
    """How often a step moves BatchNorm's statistics: `1 - momentum^n` of the way."""
    maps = network().get_layer("conv")(batch()[0])
    reached = trained(build).get_layer("bn").moving_mean / np.mean(maps, (0, 1, 2))
    return round(math.log(1 - float(np.median(reached))) / math.log(MOMENTUM))


def change_by_evaluate(build):
    student = network()
    model = build(student, network(seed=TEACHER))
    before = student.get_layer("bn").moving_mean.numpy()
    model.evaluate(*batch(), verbose=0)
    return float(np.abs(student.get_layer("bn").moving_mean.numpy() - before).max())


def change_by_weightless_examples(build):
    return difference(trained(build, sample_weight=np.zeros(8)), network())


def change_by_regulariser(build):
    return difference(trained(build, l2=1.0), trained(build))


def fit_after_reload(build):
    """`True`, or the beginning of the error."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "model.keras"
        model = build(network(), network(seed=TEACHER))
        model.fit(*batch(), verbose=0)
        model.save(path)
        try:
            keras.models.load_model(path).fit(*batch(), verbose=0)
        except (TypeError, ValueError, AttributeError) as error:
            return " ".join(str(error).split())[:80]
    return True


@functools.cache
def two_replicas():
    """One strategy a process: several can collide."""
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


def difference_on_two_replicas(build):
    """Of the weights after one step, from one device's; without BatchNorm's part."""

    def step(strategy):
        with strategy.scope():
            student, teacher = network(), network(seed=TEACHER)
            for part in (student, teacher):
                part.get_layer("bn").trainable = False
            model = build(student, teacher, optimizer=keras.optimizers.SGD(0.5))
            model.fit(*batch(), batch_size=8, shuffle=False, verbose=0)
        return student

    return difference(step(two_replicas()), step(tf.distribute.get_strategy()))


def default_logits_loss():
    """Of a teacher that says class 0 and a student that says class 1, and gradient."""
    teacher, student = tf.constant([[20.0, -20.0]]), tf.Variable([[-20.0, 20.0]])
    loss = keras.distillation.LogitsDistillation(temperature=1.0)
    with tf.GradientTape() as tape:
        value = loss.compute_loss(teacher, student)
    return float(value), float(tf.reduce_max(tf.abs(tape.gradient(value, student))))


QUESTIONS = {
    "forward passes that train BatchNorm, in a step": updates_a_step,
    "change of BatchNorm's statistics by `evaluate`": change_by_evaluate,
    "change of weights by examples of weight 0": change_by_weightless_examples,
    "what a weight regulariser of 1 changes": change_by_regulariser,
    "difference of 2 replicas' weights from one device's": difference_on_two_replicas,
    "saved, loaded, trained on": fit_after_reload,
}


def table():
    lines = "| question | `Distiller` | `Taught` |\n|---|---|---|\n"
    for question, ask in QUESTIONS.items():
        answers = [ask(build) for build in (distiller, taught)]
        said = [f"{a:.2g}" if isinstance(a, float) else str(a) for a in answers]
        lines += f"| {question} | {' | '.join(said)} |\n"
    value, gradient = default_logits_loss()
    return (
        f"{lines}\nThe default `LogitsDistillation(temperature=1.0)`, teacher's logits "
        f"(20, -20), student's (-20, 20): loss {value:.1f}, gradient {gradient:.1f}.\n"
    )


def main(_):
    cpu = tf.config.list_physical_devices("CPU")[0]
    two = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(cpu, two)
    text = f"`{reports.command()}`, {reports.machine()}.\n\n{table()}"
    reports.write_record(OUTPUT, "keras.distillation, asked", text)


if __name__ == "__main__":
    app.run(main)
