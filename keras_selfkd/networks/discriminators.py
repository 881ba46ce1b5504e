"""Discriminators: which of two sources is a feature from?"""

import keras
from keras import layers, ops


def discriminator(channels, adversarial=True, units=128):
    """Builds a classifier of pooled maps into two sources.

    Args:
        channels: Integer, of the maps.
        adversarial: Boolean. Whether the gradient that it passes back is reversed, so
            that the maps learn to deceive it. If `False` it is not trained either.
        units: Integer, of its hidden layer.

    Returns:
        `keras.Model` from `(batch, channels)` to two logits.

    References:
        Ganin and Lempitsky, "Unsupervised Domain Adaptation by Backpropagation", ICML
        2015, https://arxiv.org/abs/1409.7495 (the reversal).
    """
    full = keras.config.floatx()
    pooled = keras.Input((channels,), dtype=full)
    # Its value is that of `pooled`, its gradient the opposite.
    x = 2 * ops.stop_gradient(pooled) - pooled if adversarial else pooled
    x = layers.Dense(units, activation="relu", name="hidden")(x)
    logits = layers.Dense(2, dtype=full, name="logits")(x)
    model = keras.Model(pooled, logits, name="discriminator")
    model.trainable = adversarial
    return model
