import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_selfkd.losses import soft_label
from tests.golden_arrays import GOLDEN, assert_parity


def log_softmax(z):
    z = z - z.max(-1, keepdims=True)
    return z - np.log(np.exp(z).sum(-1, keepdims=True))


def soft_label_numpy(target, prediction, temperature):
    p, q = log_softmax(target / temperature), log_softmax(prediction / temperature)
    return temperature**2 * np.sum(np.exp(p) * (p - q), axis=-1)


@pytest.mark.parametrize("temperature", [1, 3, 4])
def test_equals_the_authors(temperature):
    student = tf.constant(GOLDEN["soft_label.student"])
    teacher = tf.constant(GOLDEN["soft_label.teacher"])
    with tf.GradientTape() as tape:
        tape.watch([student, teacher])
        loss = tf.reduce_mean(soft_label(teacher, student, float(temperature)))
    gradients = tape.gradient(loss, [student, teacher])
    expected = f"soft_label.T{temperature}"
    assert_parity(loss, GOLDEN[f"{expected}.loss"])
    assert_parity(gradients[0], GOLDEN[f"{expected}.grad_student"])
    assert gradients[1] is None


@pytest.mark.parametrize("shape", [(6, 10), (2, 3, 4, 5)])
def test_equals_the_formula(shape):
    random = np.random.default_rng(0)
    target, prediction = random.normal(size=(2, *shape)) * 5
    actual = soft_label(target, prediction, temperature=2.0)
    assert actual.shape == shape[:-1]
    np.testing.assert_allclose(actual, soft_label_numpy(target, prediction, 2.0), 1e-6)


def test_confident_logits_keep_value_and_gradient():
    """`keras.losses.kl_divergence` gives 16.1 here, and no gradient."""
    prediction = tf.constant([[40.0, 0.0]])
    with tf.GradientTape() as tape:
        tape.watch(prediction)
        loss = soft_label(tf.constant([[0.0, 40.0]]), prediction, temperature=1.0)
    np.testing.assert_allclose(loss, [40.0], rtol=1e-6)
    np.testing.assert_allclose(tape.gradient(loss, prediction), [[1.0, -1.0]])


def test_one_logit_is_two():
    z = np.array([[0.3], [-2.0]])
    t = np.array([[1.0], [0.5]])
    two = [np.concatenate([np.zeros_like(a), a], -1) for a in (t, z)]
    np.testing.assert_allclose(soft_label(t, z), soft_label(*two))
    assert np.all(np.array(soft_label(t, z)) > 0)


@pytest.mark.parametrize("shape", [(6, 3), (2, 3, 4, 5), (4, 1)])
def test_several_labels_are_bernoulli_divergences(shape):
    target, prediction = np.random.default_rng(0).normal(size=(2, *shape)) * 3
    p, q = (1 / (1 + np.exp(-z / 2.0)) for z in (target, prediction))
    expected = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
    actual = soft_label(target, prediction, temperature=2.0, multi_label=True)
    np.testing.assert_allclose(actual, 4.0 * expected.mean(-1), 1e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_low_precision_does_not_overflow(dtype):
    target = keras.ops.cast([[200.0, -200.0]], dtype)
    loss = soft_label(target, -target, temperature=20.0)
    assert keras.backend.standardize_dtype(loss.dtype) == "float32"
    np.testing.assert_allclose(loss, [20.0**2 * 20.0], rtol=1e-2)


def test_works_in_compile():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4)])
    model.compile("sgd", loss=soft_label)
    assert np.isfinite(model.evaluate(np.ones((2, 3)), np.ones((2, 4)), verbose=0))
