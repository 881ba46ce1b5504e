import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from keras_selfkd import recalibrate_batch_norm
from keras_selfkd.batch_norm import limit_batch_norm_momentum
from tests import toys


def images_of(*counts):
    random = np.random.default_rng(0)
    return [random.normal(2.0, 3.0, (count, 4, 4, 2)) for count in counts]


def network(nested=False, sequential=False, **options):
    """A convolution, its BatchNorm and what follows; returned with the first two."""
    convolution = layers.Conv2D(3, 3, name="conv")
    norm = layers.BatchNormalization(momentum=0.999, name="bn", **options)
    head = [layers.Dropout(0.5), layers.GlobalAveragePooling2D(), layers.Dense(2)]
    inputs = keras.Input((4, 4, 2))
    if sequential:
        return keras.Sequential([inputs, convolution, norm, *head]), convolution, norm
    x = norm(convolution(inputs))
    if nested:
        x = keras.Model(inputs, x)(inputs)
    for layer in head:
        x = layer(x)
    return keras.Model(inputs, x), convolution, norm


@pytest.mark.parametrize(
    "kind", [{}, {"nested": True}, {"sequential": True}, {"synchronized": True}]
)
def test_statistics_are_the_means_over_the_batches(kind):
    student, convolution, norm = network(**kind)
    others = [v for v in student.variables if "moving" not in v.path]
    before = [v.numpy() for v in others]
    batches = images_of(6, 6, 2)  # The last one is partial.
    dataset = [(images, np.zeros(len(images))) for images in batches]
    assert recalibrate_batch_norm(student, dataset) is student
    maps = [convolution(images).numpy() for images in batches]
    mean = np.average([m.mean((0, 1, 2)) for m in maps], 0, weights=[6, 6, 2])
    variance = np.average([m.var((0, 1, 2)) for m in maps], 0, weights=[6, 6, 2])
    np.testing.assert_allclose(norm.moving_mean, mean, rtol=1e-5)
    np.testing.assert_allclose(norm.moving_variance, variance, rtol=1e-5)
    assert norm.momentum == 0.999
    for variable, value in zip(others, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value, variable.path)


def test_later_layers_see_what_they_see_in_training():
    inputs = keras.Input((2,))
    first, second = (layers.BatchNormalization(epsilon=0.0) for _ in range(2))
    student = keras.Model(inputs, second(first(inputs)))
    (images,) = images_of(8)
    recalibrate_batch_norm(student, [images[:, 0, 0]])
    # Behind a BatchNorm in training mode a batch has mean 0 and variance 1.
    np.testing.assert_allclose(second.moving_mean, [0, 0], atol=1e-6)
    np.testing.assert_allclose(second.moving_variance, [1, 1], rtol=1e-5)
    np.testing.assert_allclose(first.moving_mean, images[:, 0, 0].mean(0), rtol=1e-5)


def test_frozen_layers_stay_as_they_are():
    student, _, norm = network()
    norm.trainable = False
    before = student.get_weights()
    recalibrate_batch_norm(student, images_of(6))
    limit_batch_norm_momentum(student, steps=20)
    assert norm.momentum == 0.999
    for ours, theirs in zip(student.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_batches_as_training_takes_them():
    student, _, norm = network()
    (images,) = images_of(6)
    dataset = tf.data.Dataset.from_tensors(({"image": images}, np.zeros(6)))
    recalibrate_batch_norm(student, dataset)
    expected = norm.moving_mean.numpy()
    norm.moving_mean.assign(np.zeros(3))
    recalibrate_batch_norm(student, tf.data.Dataset.from_tensors(images))
    np.testing.assert_allclose(norm.moving_mean, expected, rtol=1e-6)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(policy):
    inputs = keras.Input((2,))
    norm = layers.BatchNormalization(dtype=policy)
    student = keras.Model(inputs, norm(inputs))
    values = np.array([[1.0, 300.0], [2.0, -300.0]])
    recalibrate_batch_norm(student, [values])
    np.testing.assert_array_equal(norm.moving_mean, [1.5, 0.0])
    np.testing.assert_array_equal(norm.moving_variance, [0.25, 90000.0])


@pytest.mark.parametrize("synchronized", [False, True])
def test_under_a_strategy(two_replicas, synchronized):
    with two_replicas.scope():
        student, convolution, norm = network(synchronized=synchronized)
    (images,) = images_of(6)
    recalibrate_batch_norm(student, [images])
    maps = convolution(images).numpy()
    np.testing.assert_allclose(norm.moving_mean, maps.mean((0, 1, 2)), rtol=1e-5)
    for copy in two_replicas.experimental_local_results(norm.moving_variance.value):
        np.testing.assert_allclose(copy, maps.var((0, 1, 2)), rtol=1e-5)


def test_error_data_that_does_not_end_or_begin():
    student, _, norm = network()
    (images,) = images_of(2)
    endless = tf.data.Dataset.from_tensors(images).repeat()
    with pytest.raises(ValueError, match=r"`dataset.take\(100\)`.*endless"):
        recalibrate_batch_norm(student, endless)
    before = student.get_weights()
    with pytest.raises(ValueError, match="empty: it yields no batch"):
        recalibrate_batch_norm(student, [])
    with pytest.raises(ValueError, match="incompatible with the layer"):
        recalibrate_batch_norm(student, [images, images[0]])
    assert norm.momentum == 0.999
    for ours, theirs in zip(student.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("steps", "momentum"), [(240, 23 / 24), (100, 0.9), (5, 0.0), (10**6, 0.999)]
)
def test_momentum_remembers_a_tenth_of_the_training(steps, momentum):
    student, _, norm = network(nested=True)
    assert limit_batch_norm_momentum(student, steps) is student
    assert norm.momentum == pytest.approx(momentum)


def test_a_short_training_is_as_good_outside_of_training_mode():
    """The trap: momentum 0.999 and 40 steps leave the averages at 0 and 1."""
    labels = np.arange(16) % 4
    pixels = 100.0 + 20.0 * np.eye(4)[labels]
    dataset = tf.data.Dataset.from_tensors((pixels, labels))

    def trained(limit):
        inputs = keras.Input((4,))
        x = layers.BatchNormalization(momentum=0.999)(layers.Dense(8)(inputs))
        student = keras.Model(inputs, layers.Dense(4)(x))
        if limit:
            limit_batch_norm_momentum(student, steps=40)
        student.compile(
            keras.optimizers.Adam(0.03), toys.cross_entropy(), metrics=["accuracy"]
        )
        log = student.fit(dataset.repeat(40), shuffle=False, verbose=0).history
        assert log["accuracy"][0] > 0.7  # In training mode, the first steps included.
        return student

    def accuracy(student):
        return student.evaluate(dataset, verbose=0)[1]

    student = trained(limit=False)
    assert accuracy(student) <= 0.5
    assert accuracy(recalibrate_batch_norm(student, dataset)) == 1.0
    assert accuracy(trained(limit=True)) == 1.0
