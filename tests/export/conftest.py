"""A student to export, and images for it."""

import keras
import numpy as np
import pytest

SHAPE = (12, 20, 1)


def build_student():
    keras.utils.set_random_seed(0)
    inputs = keras.Input(SHAPE)
    x = keras.layers.Conv2D(8, 3, strides=2, use_bias=False)(inputs)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(64, 3)(x))
    return keras.Model(inputs, keras.layers.Dense(5, dtype="float32")(x))


@pytest.fixture(scope="module")
def student():
    return build_student()


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).random((40, *SHAPE), "float32")
