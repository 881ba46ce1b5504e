"""Auxiliary branches: from each tap a second way to a last map and to logits."""

import warnings

import keras
from keras import layers

from keras_selfkd.networks.bifpn import conv_bn_relu
from keras_selfkd.networks.heads import is_dense, prediction_head


def last_tap(outputs):
    """Index of the tap that fewest of the student's layers follow.

    Args:
        outputs: The student's symbolic `Outputs`.

    Raises:
        ValueError: if the student's head reads more than any of the taps.
    """
    remaining = {}
    for i, tap in enumerate(outputs.features):
        part = part_after(tap, [outputs.logits])
        if part is not None:
            remaining[i] = len(part.layers)
    if not remaining:
        shapes = [tuple(tap.shape[1:]) for tap in outputs.features]
        raise ValueError(
            "The student's logits must depend on one of the taps alone, its last map. "
            "Name the map before the head too: `SelfDistillationModel(student, method, "
            f"taps=[...])`. Received: taps with shapes {shapes}"
        )
    return min(remaining, key=remaining.get)


def branches(outputs, last):
    """Builds a branch on every tap but the last.

    A branch repeats the layers that follow its tap in the student, with weights of
    its own. Where they read other maps too (a skip crosses the tap) it is a chain of
    separable convolutions instead, and a warning says so.

    Args:
        outputs: The student's symbolic `Outputs`.
        last: Integer, index of the last tap.

    Returns:
        List of `keras.Model` from a tap to `[map, logits]`, the map of the last tap's
        shape, the logits of the student's kind.
    """
    built, crossed = [], []
    for i, tap in enumerate(outputs.features):
        if i == last:
            continue
        part = part_after(tap, [outputs.features[last], outputs.logits])
        if part is None:
            crossed.append("x".join(map(str, tap.shape[1:])))
            part = chain(tap, outputs.features[last], outputs.logits)
        else:
            part = with_fresh_weights(part)
        part.name = f"branch{i}"
        built.append(part)
    if crossed:
        warnings.warn(
            f"The student's layers after its maps of {', '.join(crossed)} read other "
            "maps too, so branches there are separable convolutions instead of copies.",
            stacklevel=2,
        )
    return built


def part_after(tap, wanted):
    """The part of a student from a tap to `wanted`; `None` where it reads more."""
    try:
        return keras.Model(tap, wanted)
    except ValueError:
        return None


def with_fresh_weights(model):
    """A copy of a network, all of it trained, with initial weights of its own."""

    def fresh(layer):
        if not isinstance(layer, layers.Layer):
            return layer
        config = {**layer.get_config(), "trainable": True}
        return type(layer).from_config(without_seeds(config))

    return keras.models.clone_model(model, clone_function=fresh)


def without_seeds(config):
    """A layer's config without its seeds, with which it would repeat the original."""
    if isinstance(config, dict):
        return {
            key: None if key == "seed" else without_seeds(value)
            for key, value in config.items()
        }
    if isinstance(config, (list, tuple)):
        return type(config)(map(without_seeds, config))
    return config


def chain(tap, last, logits):
    """Separable convolutions, strided while the map is twice too large, and a head."""
    x = start = keras.Input(batch_shape=tap.shape, dtype=tap.dtype)
    strides, block = 2, 0
    while strides == 2:
        block += 1
        strides = 2 if all(x.shape[a] >= 2 * last.shape[a] for a in (1, 2)) else 1
        name = f"block{block}_depthwise"
        x = layers.DepthwiseConv2D(
            3, strides, padding="same", use_bias=False, name=name
        )(x)
        channels = 2 * x.shape[-1] if strides == 2 else last.shape[-1]
        channels = min(channels, last.shape[-1])
        x = conv_bn_relu(x, channels, f"block{block}", sync=False)
    if x.shape[1:3] != last.shape[1:3]:
        x = keras.ops.image.resize(x, last.shape[1:3], interpolation="bilinear")
    return keras.Model(start, [x, prediction_head([x], logits)])


def joint_head(maps, logits):
    """Builds a head on all the maps: a 1x1 convolution, and a linear classifier.

    Args:
        maps: List of symbolic maps of one shape.
        logits: The student's symbolic logits.

    Returns:
        `keras.Model` from the maps to logits of the student's kind; dense ones are of
        the maps' size.
    """
    classes, full = logits.shape[-1], keras.config.floatx()
    inputs = [keras.Input(batch_shape=tap.shape, dtype=tap.dtype) for tap in maps]
    x = layers.Concatenate()(inputs)
    x = layers.Conv2D(maps[-1].shape[-1], 1, use_bias=False, name="fusion")(x)
    if not is_dense(logits):
        x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dense(classes, dtype=full, name="logits")(x)
    return keras.Model(inputs, x, name="self_teacher")
