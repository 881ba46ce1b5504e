"""What brings a student's maps to a teacher's channels."""

import keras

from keras_selfkd.networks.bifpn import conv_bn_relu


def projections(feature_loss, targets, taps):
    """Networks that give each tap its target's channels, where the loss needs that.

    Args:
        feature_loss: Declared with `losses.feature_loss`, or a Layer.
        targets: List of a teacher's symbolic maps.
        taps: List of the student's symbolic maps, as many.
    """
    same_channels = getattr(feature_loss, "same_channels", False)
    regressor = getattr(feature_loss, "regressor", False)
    found = []
    for target, tap in zip(targets, taps, strict=True):
        inputs = keras.Input(batch_shape=tap.shape, dtype=tap.dtype)
        channels = target.shape[-1]
        if regressor:
            x = conv_bn_relu(inputs, channels, "projection")
        elif same_channels and channels != tap.shape[-1]:
            convolution = keras.layers.Conv2D(
                channels, 1, use_bias=False, name="projection"
            )
            x = convolution(inputs)
        else:
            x = keras.layers.Identity(name="unchanged")(inputs)
        found.append(keras.Model(inputs, x, name="to_target"))
    return found
