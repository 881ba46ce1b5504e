import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_selfkd.networks.faster_layers import (
    FusedBatchNormalization,
    PointwiseConv2D,
)

OPTIONS = {"epsilon": 1e-5, "momentum": 0.9}


def both(dtype="float32", **options):
    """Keras's layer and ours, with the same weights."""
    layers = []
    for kind in (keras.layers.BatchNormalization, FusedBatchNormalization):
        layer = kind(dtype=dtype, **{**OPTIONS, **options})
        layer.build((None, 3, 5, 4))
        layer.gamma.assign([0.5, 1.0, -2.0, 3.0])
        layer.beta.assign([0.0, 1.0, 2.0, -1.0])
        layers.append(layer)
    return layers


def maps(seed=0, count=6):
    random = np.random.default_rng(seed)
    return random.normal(3.0, 2.0, (count, 3, 5, 4)).astype("float32")


@pytest.mark.parametrize("traced", [False, True], ids=["eager", "graph"])
@pytest.mark.parametrize("count", [6, 1])
def test_trains_as_keras_does(count, traced):
    images, upstream = tf.constant(maps(0, count)), tf.constant(maps(1, count))
    results = []
    for layer in both():

        def step(x, layer=layer):
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = layer(x, training=True)
            sources = [x, *layer.trainable_variables]
            return y, *tape.gradient(y, sources, output_gradients=upstream)

        step = tf.function(step) if traced else step
        results.append([*step(images), layer.moving_mean, layer.moving_variance])
    for theirs, ours in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=2e-5)


def test_statistics_by_hand():
    layer = FusedBatchNormalization(epsilon=1e-5, momentum=0.5)
    layer(np.array([0.0, 2.0], "float32").reshape(2, 1, 1, 1), training=True)
    np.testing.assert_allclose(layer.moving_mean, [0.5])
    # The biased variance is 1, the unbiased one 2.
    np.testing.assert_allclose(layer.moving_variance, [1.0])
    # Of one number the variance is 0, and there is no unbiased one.
    layer(np.array([1.5], "float32").reshape(1, 1, 1, 1), training=True)
    np.testing.assert_allclose(layer.moving_mean, [1.0])
    np.testing.assert_allclose(layer.moving_variance, [0.5])


@pytest.mark.parametrize(
    ("dtype", "options", "training"),
    [
        ("float32", {}, False),
        ("float64", {}, True),
        ("bfloat16", {}, True),
        ("float32", {"synchronized": True}, True),
        ("float32", {"trainable": False}, True),
        ("float32", {"momentum": 0.0}, True),
    ],
    ids=["inference", "float64", "bfloat16", "synchronised", "frozen", "no momentum"],
)
def test_is_keras_s_own_where_nothing_is_fused(dtype, options, training):
    keras_s, own = both(dtype, **options)
    theirs, ours = (layer(maps(), training=training) for layer in (keras_s, own))
    pairs = [(theirs, ours), *zip(keras_s.variables, own.variables, strict=True)]
    for expected, actual in pairs:
        expected, actual = (keras.ops.cast(x, "float32") for x in (expected, actual))
        np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("share", [0.7, 0.0])
@pytest.mark.parametrize(
    ("dtype", "options", "training"),
    [
        ("float32", {}, True),
        ("float32", {"synchronized": True}, True),
        ("float32", {}, False),
        ("float64", {}, True),
        ("mixed_float16", {}, True),
    ],
    ids=["one operation", "synchronised", "inference", "float64", "mixed"],
)
def test_a_share_before_relu_weighs_the_map(dtype, options, training, share):
    """Values, statistics, and gradients, also of the share itself."""
    kind = "float64" if dtype == "float64" else "float32"
    images, by = tf.constant(maps(0) - 3.0, kind), tf.constant(share, kind)
    results = []
    for inside in (True, False):
        _, layer = both(dtype, **options)
        with tf.GradientTape() as tape:
            tape.watch([images, by])
            if inside:
                y = tf.nn.relu(layer(images, training=training, share=by))
            else:
                y = tf.nn.relu(layer(images, training=training))
                y *= tf.cast(by, y.dtype)
            upstream = tf.cast(maps(1), y.dtype)
        sources = [images, *layer.trainable_variables, by]
        gradients = tape.gradient(y, sources, output_gradients=upstream)
        # A share is 0 where the ReLU of its weight is, which passes no gradient on.
        gradients = gradients if share else gradients[:-1]
        results.append([y, *layer.non_trainable_variables, *gradients])
    tolerance = 2e-2 if dtype == "mixed_float16" else 2e-5
    for ours, weighed in zip(*results, strict=True):
        ours, weighed = (np.array(tf.cast(x, "float64")) for x in (ours, weighed))
        bound = tolerance * max(1.0, np.max(np.abs(weighed)))
        np.testing.assert_allclose(ours, weighed, rtol=1e-4, atol=bound)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(policy):
    keras_s, own = both(policy)
    theirs, ours = (layer(maps(), training=True) for layer in (keras_s, own))
    assert theirs.dtype == ours.dtype
    for expected, actual in zip(keras_s.variables, own.variables, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-2, atol=1e-3)
    tolerance = 4 * np.finfo("float16").eps if "bfloat" not in policy else 2**-6
    theirs, ours = (np.array(keras.ops.cast(y, "float32")) for y in (theirs, ours))
    np.testing.assert_allclose(ours, theirs, atol=tolerance * np.max(np.abs(theirs)))


def test_pointwise_convolution_is_keras_s():
    images, upstream = tf.constant(maps()), tf.ones((6, 3, 5, 7))
    theirs = keras.layers.Conv2D(7, 1, use_bias=False)
    ours = PointwiseConv2D(7)
    for layer in (theirs, ours):
        layer.build(images.shape)
    ours.set_weights(theirs.get_weights())
    results = []
    for layer, training in ((theirs, {}), (ours, {"training": True}), (ours, {})):
        with tf.GradientTape() as tape:
            tape.watch(images)
            y = layer(images, **training)
        sources = [images, *layer.trainable_variables]
        results.append([y, *tape.gradient(y, sources, output_gradients=upstream)])
    for expected, trained, inferred in zip(*results, strict=True):
        np.testing.assert_allclose(trained, expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(inferred, expected)


@pytest.mark.parametrize(
    "layer",
    [FusedBatchNormalization(**OPTIONS), PointwiseConv2D(3, kernel_regularizer="l2")],
    ids=["batch_norm", "convolution"],
)
def test_layers_come_back_from_their_config(layer):
    again = type(layer).from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
