import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_selfkd.losses import attention_transfer, fitnet_hint, normalized_mse
from tests.golden_arrays import GOLDEN, assert_parity


def attention_transfer_numpy(target, prediction, mask):
    def attention(feature):
        energy = np.mean(feature**2, axis=-1) * mask
        norm = np.sqrt(np.sum(energy**2, axis=(1, 2), keepdims=True))
        return energy / np.maximum(norm, 1e-12)

    squared = (attention(prediction) - attention(target)) ** 2
    return np.sum(squared * mask, (1, 2)) / np.sum(mask, (1, 2))


def normalized_mse_numpy(target, prediction, mask):
    mask = mask[..., None]

    def mean(values):
        return np.sum(values * mask, (1, 2), keepdims=True) / np.sum(
            mask, (1, 2), keepdims=True
        )

    def normalized(feature):
        variance = mean((feature - mean(feature)) ** 2)
        return (feature - mean(feature)) / np.sqrt(variance + 1e-5)

    squared = (normalized(prediction) - normalized(target)) ** 2
    return np.mean(mean(squared), axis=(1, 2, 3))


def fitnet_hint_numpy(target, prediction, mask):
    squared = np.mean((prediction - target) ** 2, axis=-1)
    return np.sum(squared * mask, (1, 2)) / np.sum(mask, (1, 2))


FORMULAS = {
    fitnet_hint: fitnet_hint_numpy,
    attention_transfer: attention_transfer_numpy,
    normalized_mse: normalized_mse_numpy,
}
ALL = pytest.mark.parametrize("loss", FORMULAS, ids=lambda f: f.__name__)


def maps(channels=(5, 5), size=(7, 8)):
    random = np.random.default_rng(0)
    return [random.normal(size=(4, *size, c)) for c in channels]


def test_attention_transfer_equals_the_authors():
    student = tf.constant(GOLDEN["attention.student"])
    teacher = tf.constant(GOLDEN["attention.teacher"])
    with tf.GradientTape() as tape:
        tape.watch([student, teacher])
        loss = tf.reduce_mean(attention_transfer(teacher, student))
    gradients = tape.gradient(loss, [student, teacher])
    assert_parity(loss, GOLDEN["attention.loss"])
    assert_parity(gradients[0], GOLDEN["attention.grad_student"])
    assert gradients[1] is None


@ALL
def test_equals_the_formula(loss):
    target, prediction = maps()
    ones = np.ones(target.shape[:-1])
    expected = FORMULAS[loss](target, prediction, ones)
    np.testing.assert_allclose(loss(target, prediction), expected, rtol=1e-6)
    np.testing.assert_allclose(loss(target, prediction, mask=ones), expected, rtol=1e-6)


@ALL
def test_masked_positions_count_nowhere(loss):
    target, prediction = maps()
    mask = np.random.default_rng(1).random(target.shape[:-1]) < 0.5
    expected = FORMULAS[loss](target, prediction, mask.astype(float))
    np.testing.assert_allclose(loss(target, prediction, mask=mask), expected, rtol=1e-6)
    target[~mask] = 1e3
    prediction[~mask] = -1e3
    np.testing.assert_allclose(loss(target, prediction, mask=mask), expected, rtol=1e-5)


@ALL
def test_nothing_valid_gives_zero(loss):
    target, prediction = map(tf.constant, maps())
    with tf.GradientTape() as tape:
        tape.watch(prediction)
        value = loss(target, prediction, mask=np.zeros(target.shape[:-1]))
    np.testing.assert_array_equal(value, np.zeros(4))
    np.testing.assert_array_equal(tape.gradient(value, prediction), 0 * prediction)


@ALL
def test_constant_and_zero_maps_are_finite(loss):
    for constant in (0.0, 3.0):
        prediction = tf.fill((2, 3, 3, 4), constant)
        with tf.GradientTape() as tape:
            tape.watch(prediction)
            value = loss(tf.zeros((2, 3, 3, 4)), prediction)
        assert np.all(np.isfinite(value))
        assert np.all(np.isfinite(tape.gradient(value, prediction)))


@ALL
def test_no_gradient_into_the_target(loss):
    target, prediction = map(tf.constant, maps())
    with tf.GradientTape() as tape:
        tape.watch(target)
        value = loss(target, prediction)
    assert tape.gradient(value, target) is None


@ALL
def test_low_precision_does_not_overflow(loss):
    target, prediction = (keras.ops.cast(200.0 * m, "float16") for m in maps())
    value = np.array(loss(target, prediction))
    assert value.dtype == np.float32
    assert np.all(np.isfinite(value))
    assert np.all(value > 0)


def test_attention_transfer_takes_maps_of_any_channels():
    target, prediction = maps(channels=(3, 6))
    expected = attention_transfer_numpy(target, prediction, np.ones(target.shape[:-1]))
    actual = attention_transfer(target, prediction)
    np.testing.assert_allclose(actual, expected, rtol=1e-6)


def test_works_in_the_keras_distiller():
    """The argument order is Keras's, so the losses also serve `FeatureDistillation`."""
    distillation = keras.distillation.FeatureDistillation(loss=attention_transfer)
    target, prediction = maps()
    value = distillation.compute_loss(target, prediction)
    assert np.isfinite(value)
