import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_selfkd.supervision import Supervision
from tests import toys

LABELS = np.array([0, 2, 1])
LOGITS = np.array([[2.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 1.0, 1.0]], "float32")


def cross_entropies():
    shifted = LOGITS - np.log(np.exp(LOGITS).sum(-1, keepdims=True))
    return -shifted[np.arange(3), LABELS]


@pytest.mark.parametrize(
    ("loss", "labels"),
    [
        (toys.cross_entropy(), LABELS),
        (toys.cross_entropy(), LABELS[:, None]),
        (keras.losses.CategoricalCrossentropy(from_logits=True), np.eye(3)[LABELS]),
        (
            lambda y, z: keras.losses.sparse_categorical_crossentropy(y, z, True),
            LABELS,
        ),
    ],
)
def test_is_the_compiled_loss_unreduced(loss, labels):
    values = Supervision(loss)(labels, LOGITS)
    np.testing.assert_allclose(values, cross_entropies(), rtol=1e-6)


@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum", "mean"])
@pytest.mark.parametrize("weight", [None, np.array([1.0, 0.0, 3.0])])
def test_reduces_as_keras_does(reduction, weight):
    loss = toys.cross_entropy(reduction=reduction)
    supervision = Supervision(loss)
    expected = loss(LABELS, LOGITS, sample_weight=weight)
    actual = supervision.reduce(supervision(LABELS, LOGITS), weight)
    assert float(actual) == float(expected)


def test_mean_with_sample_weight():
    loss = toys.cross_entropy(reduction="mean_with_sample_weight")
    weight = np.array([1.0, 0.0, 3.0])
    actual = Supervision(loss).reduce(cross_entropies(), weight)
    np.testing.assert_allclose(actual, np.average(cross_entropies(), weights=weight))


def test_void_pixels_count_nowhere():
    labels = np.array([[[0, 255], [1, 2]]])
    logits = np.random.default_rng(0).normal(size=(1, 2, 2, 3)).astype("float32")
    loss = toys.cross_entropy(ignore_class=255)
    supervision = Supervision(loss)
    valid = supervision.labelled(tf.constant(labels), tf.constant(logits))
    np.testing.assert_array_equal(valid, labels != 255)
    values = supervision(labels, logits)
    np.testing.assert_allclose(
        supervision.reduce(values, valid=valid), loss(labels, logits), rtol=1e-6
    )
    # Not a number where it does not count.
    poisoned = tf.where(valid, values, np.nan)
    assert np.isfinite(supervision.reduce(poisoned, valid=valid))
    nothing = tf.zeros_like(valid)
    assert float(supervision.reduce(values, valid=nothing)) == 0.0


@pytest.mark.parametrize("loss", [None, {"a": "mse"}, ["mse", "mse"]])
def test_error_several_losses(loss):
    with pytest.raises(ValueError, match="Compile with a single loss"):
        Supervision(loss)


@pytest.mark.parametrize(
    "loss",
    [
        "sparse_categorical_crossentropy",
        keras.losses.SparseCategoricalCrossentropy(),
        keras.losses.CategoricalCrossentropy(),
        keras.losses.BinaryCrossentropy(),
        keras.losses.CategoricalFocalCrossentropy(),
        keras.losses.categorical_crossentropy,
    ],
)
def test_error_loss_on_probabilities(loss):
    with pytest.raises(ValueError, match="Compile with `from_logits=True`"):
        Supervision(loss)


def test_error_no_reduction():
    with pytest.raises(ValueError, match="must have a reduction"):
        Supervision(toys.cross_entropy(reduction=None))


@pytest.mark.parametrize("weight", [[0.0, 0.0, 0.0], [3.0, 3.0, 3.0], [1.0, 0.0, 4.0]])
@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum"])
def test_a_loss_of_one_value_is_weighted_as_keras_does(weight, reduction):
    class Mean(keras.losses.Loss):
        def call(self, y, z):
            return keras.ops.mean(
                keras.losses.categorical_crossentropy(y, z, from_logits=True)
            )

    loss, one_hot = Mean(reduction=reduction), np.eye(3, dtype="float32")[LABELS]
    supervision = Supervision(loss)
    for given in (None, np.array(weight)):
        actual = supervision.reduce(supervision(one_hot, LOGITS), given)
        expected = loss(one_hot, LOGITS, sample_weight=given)
        assert float(actual) == pytest.approx(float(expected))


@pytest.mark.parametrize(
    ("loss", "multi_label"),
    [
        (keras.losses.BinaryCrossentropy(from_logits=True), True),
        (keras.losses.CategoricalCrossentropy(from_logits=True), False),
    ],
)
def test_knows_whether_each_logit_is_a_label(loss, multi_label):
    supervision = Supervision(loss)
    supervision.check_labels(np.eye(3), tf.constant(LOGITS))
    assert supervision.multi_label == multi_label
