import keras
import numpy as np

from keras_selfkd.distributed.layers import derive_constants


def normalizing(mean):
    """A student that holds a Normalization, in a model of its own."""
    inputs = keras.Input((4, 4, 2))
    layer = keras.layers.Normalization(mean=None)
    inner = keras.Model(inputs, layer(inputs))
    layer.adapt(np.full((8, 4, 4, 2), mean) + np.arange(8)[:, None, None, None])
    outer = keras.Input((4, 4, 2))
    return keras.Model(outer, keras.layers.Flatten()(inner(outer)))


def test_given_weights_are_what_a_normalization_computes_with():
    trained, fresh = normalizing(3.0), normalizing(0.0)
    images = np.ones((1, 4, 4, 2), "float32")
    fresh.set_weights(trained.get_weights())
    assert not np.allclose(fresh(images), trained(images))  # Keras's trap.
    derive_constants(fresh)
    np.testing.assert_array_equal(fresh(images), trained(images))
