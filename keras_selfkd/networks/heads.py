"""Prediction heads of self-teachers; the one place that tells classes from pixels."""

import keras
from keras import layers

from keras_selfkd.networks.bifpn import batch_norm
from keras_selfkd.pixels import is_dense


def prediction_head(features, logits):
    """Logits of the same kind as the student's, from a pyramid of refined maps.

    Args:
        features: List of symbolic maps, fine to coarse.
        logits: The student's symbolic logits: `(batch, classes)` gets the pooled
            coarsest map and a Dense, `(batch, height, width, classes)` gets two 3x3
            convolutions on the finest map.

    Returns:
        Symbolic logits with the student's classes, in full precision (float32); dense
        ones are of the finest map's size.
    """
    classes, full = logits.shape[-1], keras.config.floatx()
    if not is_dense(logits):
        pooled = layers.GlobalAveragePooling2D(name="pool")(features[-1])
        return layers.Dense(classes, dtype=full, name="logits")(pooled)
    # The paper's 256 for its levels of 64 and 88 channels; less for thinner ones.
    channels = min(256, 4 * features[0].shape[-1])
    x = layers.Conv2D(channels, 3, padding="same", use_bias=False, name="head")(
        features[0]
    )
    x = layers.ReLU(name="head_relu")(batch_norm("head_bn")(x))
    return layers.Conv2D(classes, 3, padding="same", dtype=full, name="logits")(x)
