"""Prediction heads of self-teachers; the one place that tells classes from pixels."""

import keras
from keras import layers, ops

from keras_selfkd.networks.bifpn import conv_bn_relu


def is_dense(logits):
    """Whether a student predicts a class for every pixel."""
    return len(logits.shape) == 4


def prediction_head(features, logits, sync=False):
    """Logits of the same kind as the student's, from a pyramid of refined maps.

    Args:
        features: List of symbolic maps, fine to coarse.
        logits: The student's symbolic logits: `(batch, classes)` gets the pooled
            coarsest map and a Dense, `(batch, height, width, classes)` gets two 3x3
            convolutions on the finest map, resized bilinearly to the logits' size.
        sync: Boolean, whether replicas share their BatchNorm statistics.

    Returns:
        Symbolic logits of the student's shape, in full precision (float32).
    """
    classes, full = logits.shape[-1], keras.config.floatx()
    if not is_dense(logits):
        pooled = layers.GlobalAveragePooling2D(name="pool")(features[-1])
        return layers.Dense(classes, dtype=full, name="logits")(pooled)
    x = conv_bn_relu(features[0], 256, "head", sync, kernel_size=3)
    x = layers.Conv2D(classes, 3, padding="same", dtype=full, name="logits")(x)
    if x.shape[1:3] == logits.shape[1:3]:
        return x
    return ops.image.resize(x, logits.shape[1:3], interpolation="bilinear")
