import keras
import pytest
import tensorflow as tf
from keras import losses, ops

from keras_selfkd.loss_kind import LossKind, kind_of

BINARY = LossKind(multi_label=True)
SHAPES = [(2, 3), (2, 2, 2, 3)]


def own_dice(y, p):
    return 1 - (2 * tf.reduce_sum(y * p) + 1) / (tf.reduce_sum(y + p) + 1)


def binary_and_dice(y, z):
    dice = losses.dice(y, ops.sigmoid(z))
    return ops.mean(losses.binary_crossentropy(y, z, from_logits=True)) + dice


def masked_binary(y, z):
    """Labels below 0 are unknown."""
    loss = tf.nn.sigmoid_cross_entropy_with_logits(tf.maximum(y, 0.0), z)
    return tf.where(y < 0, 0.0, loss)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("loss", "multi_label"),
    [
        (losses.CategoricalCrossentropy(from_logits=True).call, False),
        (losses.CategoricalFocalCrossentropy(from_logits=True).call, False),
        (losses.CategoricalHinge().call, False),
        (lambda y, z: losses.dice(y, ops.softmax(z)), False),
        (lambda y, z: losses.tversky(y, ops.softmax(z)), False),
        (lambda y, z: own_dice(y, ops.softmax(z)), False),
        (lambda y, z: losses.kl_divergence(y, ops.softmax(z)), False),
        (lambda y, z: losses.dice(y, ops.softmax(z), axis=(1,)), False),
        (lambda y, z: y * [0.0, 1.0, 2.0] * -ops.log_softmax(z), False),
        (lambda y, z: losses.dice(y, ops.sigmoid(z)), True),
        (binary_and_dice, True),
        (losses.BinaryCrossentropy(from_logits=True).call, True),
        (losses.BinaryFocalCrossentropy(from_logits=True).call, True),
        (masked_binary, True),
        (losses.MeanSquaredError().call, True),
        (losses.Hinge().call, True),
    ],
)
def test_tells_classes_from_several_labels(loss, shape, multi_label):
    assert kind_of(loss, shape).multi_label == multi_label


@pytest.mark.parametrize("shape", [(2, 1), (2, 3), (2, 2, 2, 1), (2, 2, 2, 3)])
@pytest.mark.parametrize(
    "loss",
    [
        losses.Dice().call,
        losses.Dice(axis=(0, 1)).call,
        losses.Tversky().call,
        losses.KLDivergence().call,
        losses.Poisson().call,
        losses.MeanSquaredLogarithmicError().call,
        own_dice,
        lambda y, p: -tf.reduce_sum(y * tf.math.log(p + 1e-7), -1),
        lambda y, z: 0.0 * losses.kl_divergence(y, ops.softmax(z)),
    ],
)
@pytest.mark.filterwarnings("ignore:You are using a softmax over axis:UserWarning")
def test_error_losses_of_probabilities(loss, shape):
    function = "sigmoid" if shape[-1] == 1 else "softmax"
    remedy = rf"keras.losses.dice\(y, keras.ops.{function}\(z\)\)"
    with pytest.raises(ValueError, match=remedy):
        kind_of(loss, shape)


@pytest.mark.parametrize("shape", [(2, 1), (2, 2, 2, 1)])
def test_one_logit(shape):
    for from_logits in (losses.BinaryCrossentropy, losses.BinaryFocalCrossentropy):
        assert kind_of(from_logits(from_logits=True).call, shape) == BINARY
    for loss in (losses.dice, losses.tversky, own_dice):
        assert kind_of(lambda y, z, loss=loss: loss(y, ops.sigmoid(z)), shape) == BINARY


@pytest.mark.parametrize("axis", [(1, 2), (1, 2, 3)])
@pytest.mark.parametrize("loss", [losses.dice, losses.tversky])
def test_losses_of_each_image(loss, axis):
    """Where an image has no pixel of a class, what is said of it changes little."""

    def of_each_image(y, z):
        return loss(y, ops.sigmoid(z), axis=axis)

    assert kind_of(of_each_image, (2, 8, 8, 1)) == BINARY


@pytest.mark.filterwarnings("ignore:In loss categorical:SyntaxWarning")
def test_error_a_softmax_of_one_logit():
    loss = losses.CategoricalCrossentropy(from_logits=True).call
    with pytest.raises(ValueError, match="BinaryCrossentropy for 1 logit"):
        kind_of(loss, (2, 1))


@pytest.mark.parametrize("shape", SHAPES)
def test_integer_labels(shape):
    def sparse(y, z):
        return losses.sparse_categorical_crossentropy(y, z, from_logits=True)

    assert kind_of(sparse, shape, integers=True) == LossKind()
    with pytest.raises(ValueError, match=r"fails for logits .* and integer labels"):
        kind_of(losses.CategoricalCrossentropy(from_logits=True).call, shape, True)
    with pytest.raises(ValueError, match="does not fall"):
        kind_of(lambda y, z: (y[..., None] - z) ** 2, shape, integers=True)


@pytest.mark.parametrize("shape", [(2, 1), (2, 3), (2, 2, 2, 1)])
def test_labels_of_minus_1(shape):
    for loss in (losses.Hinge().call, losses.SquaredHinge().call, masked_binary):
        assert kind_of(loss, shape).least == -1.0
    for loss in (losses.BinaryCrossentropy(from_logits=True).call, binary_and_dice):
        assert kind_of(loss, shape).least == 0.0
    for loss in (losses.dice, losses.tversky, own_dice):
        of_logits = kind_of(lambda y, z, loss=loss: loss(y, ops.sigmoid(z)), shape)
        assert of_logits.least == 0.0


def test_in_float64():
    keras.config.set_floatx("float64")
    try:
        assert kind_of(losses.BinaryCrossentropy(from_logits=True).call, (2, 1)) == (
            BINARY
        )
    finally:
        keras.config.set_floatx("float32")
