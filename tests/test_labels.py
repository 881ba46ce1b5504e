import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_selfkd.supervision import Supervision
from tests import toys

LOGITS = np.zeros((3, 3), "float32")
BINARY = keras.losses.BinaryCrossentropy(from_logits=True)
ONE_HOT = keras.losses.CategoricalCrossentropy(from_logits=True)


def checked(labels, logits=LOGITS, loss=None, **options):
    supervision = Supervision(loss or toys.cross_entropy(**options))
    return supervision.check_labels(np.asarray(labels), tf.constant(logits))


@pytest.mark.parametrize("labels", [[0, 3, 1], [0, -1, 1], [0, 0.5, 1], [0, np.nan, 1]])
def test_error_label_out_of_range(labels):
    with pytest.raises(tf.errors.InvalidArgumentError) as raised:
        checked(labels)
    assert "Labels must lie in [0, 3)" in str(raised.value)


@pytest.mark.parametrize(
    ("classes", "dtype"),
    [(257, "uint8"), (200, "int8"), (2, "bool"), (70_000, "uint16"), (3, "uint64")],
)
def test_narrow_dtypes_hold_fewer_numbers_than_there_are_classes(classes, dtype):
    largest = min(classes - 1, 1 if dtype == "bool" else np.iinfo(dtype).max)
    labels = np.array([0, largest]).astype(dtype)
    assert checked(labels, np.zeros((2, classes), "float32")) == []


def test_error_narrow_dtypes_do_not_wrap():
    with pytest.raises(tf.errors.InvalidArgumentError, match="to: 0, 255"):
        checked(np.array([0, 255], "uint8"), np.zeros((2, 200), "float32"))
    with pytest.raises(tf.errors.InvalidArgumentError, match="to: -1, 0"):
        checked(np.array([0, -1], "int8"), np.zeros((2, 256), "float32"))


def test_a_void_label_that_the_dtype_cannot_hold():
    masks = tf.constant([[[0, 255]]], "uint8")
    logits = np.zeros((1, 1, 2, 256), "float32")
    supervision = Supervision(toys.cross_entropy(ignore_class=-1))
    assert supervision.check_labels(masks, tf.constant(logits)) == []
    assert np.all(supervision.labelled(masks, tf.constant(logits)))


def test_void_label_is_in_range():
    labels = np.array([[[255, 0], [1, 2]]])
    logits = np.zeros((1, 2, 2, 3), "float32")
    assert checked(labels, logits, ignore_class=255) == []
    with pytest.raises(tf.errors.InvalidArgumentError, match="ignore_class=254"):
        checked(labels, logits, ignore_class=254)


@pytest.mark.parametrize(
    ("labels", "loss"),
    [
        ([0, 255, 0], BINARY),
        ([-1, 1, 1], BINARY),
        ([0, 1, 2], BINARY),
        ([0, np.nan, 1], BINARY),
        ([0, 255, 0], keras.losses.BinaryFocalCrossentropy(from_logits=True)),
        (
            [0, 255, 0],
            lambda y, z: keras.losses.binary_crossentropy(y, z, from_logits=True),
        ),
    ],
)
def test_error_binary_labels_out_of_range(labels, loss):
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"`masks / 255`"):
        checked(np.array(labels, "float32"), LOGITS[:, :1], loss)


def test_error_one_hot_labels_times_255():
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"must lie in \[0, 1\]"):
        checked(255 * np.eye(3), loss=ONE_HOT)


@pytest.mark.parametrize("loss", [BINARY, ONE_HOT])
def test_soft_labels_are_fine(loss):
    assert checked(0.9 * np.eye(3) + 0.1 / 3, loss=loss) == []


def test_losses_that_take_other_numbers_are_left_alone():
    signs = 2.0 * np.eye(3) - 1.0
    assert checked(signs, loss=keras.losses.Hinge()) == []
    for wrong in (np.inf, np.nan, 255.0):
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"in \[-1, 1\]"):
            checked(signs * wrong, loss=keras.losses.Hinge())


@pytest.mark.parametrize("factor", [255.0, -1.0])
@pytest.mark.parametrize(
    "loss",
    [
        lambda y, z: keras.losses.dice(y, keras.ops.sigmoid(z)),
        lambda y, z: keras.losses.tversky(y, keras.ops.sigmoid(z)),
        lambda y, z: keras.ops.mean((y - keras.ops.sigmoid(z)) ** 2, -1) * 255,
    ],
)
def test_error_masks_out_of_range_for_a_loss_of_ones_own(loss, factor):
    masks = np.array([[[0, 1], [1, 1]]], "float32")
    logits = np.zeros((1, 2, 2, 1), "float32")
    assert checked(masks, logits, loss) == []
    with pytest.raises(tf.errors.InvalidArgumentError, match="Labels must lie in"):
        checked(2 * factor * masks, logits, loss)


@pytest.mark.parametrize("extra", [(), (1,)])
@pytest.mark.parametrize("size", [(2, 2), (4, 6)])
def test_masks_of_one_logit_with_and_without_a_last_axis(size, extra):
    logits = np.zeros((1, 2, 2, 1), "float32")
    assert checked(np.ones((1, *size, *extra)), logits, BINARY) == []


@pytest.mark.parametrize("extra", [(), (1,)])
def test_integers_for_a_loss_of_ones_own(extra):
    def loss(y, z):
        return keras.losses.sparse_categorical_crossentropy(y, z, from_logits=True)

    labels = np.array([0, 2, 1]).reshape(3, *extra)
    assert checked(labels, loss=loss) == []
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"\[0, 3\)"):
        checked(labels + 1, loss=loss)


def test_error_labels_that_are_names():
    with pytest.raises(ValueError, match=r"map the names .*StringLookup"):
        checked(["cat", "dog"])


def test_error_labels_of_the_wrong_shape():
    with pytest.raises(ValueError, match="one-hot labels CategoricalCrossentropy"):
        checked(np.eye(3))
    with pytest.raises(ValueError, match=r"Expected shape \(batch, \*\(3,\)\)"):
        checked([0, 2, 1], loss=ONE_HOT)
    with pytest.raises(ValueError, match="Received: y=None"):
        Supervision(ONE_HOT).check_labels(None, tf.constant(LOGITS))
