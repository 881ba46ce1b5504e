"""Auxiliary branches: from each tap a second way to a last map and to logits."""

import contextlib
import math
import warnings

import keras
from keras import layers

from keras_selfkd.networks.bifpn import conv_bn_relu
from keras_selfkd.networks.heads import prediction_head
from keras_selfkd.pixels import is_dense


def last_tap(outputs):
    """Index of the tap that fewest of the student's layers follow.

    Args:
        outputs: The student's symbolic `Outputs`.

    Raises:
        ValueError: if the student's head reads more than any of the taps.
    """
    remaining = {}
    for i, tap in enumerate(outputs.features):
        with contextlib.suppress(ValueError):
            remaining[i] = len(part_after(tap, [outputs.logits]).operations)
    if not remaining:
        shapes = [tuple(tap.shape[1:]) for tap in outputs.features]
        raise ValueError(
            "The student's logits must depend on one of the taps alone, its last map. "
            "Name the map before the head too: `SelfDistillationModel(student, method, "
            f"taps=[...])`. Received: taps with shapes {shapes}"
        )
    return min(remaining, key=remaining.get)


def depth(tap):
    """Number of layers that a symbolic map comes out of."""
    return len(keras.Model(keras.utils.get_source_inputs(tap), tap).operations)


def branches(outputs, last, copied=False):
    """Builds a branch on every tap but the last.

    A branch repeats the layers that follow its tap in the student, with weights of
    its own. Where that cannot be, because a skip crosses the tap or a layer cannot be
    copied, it is a chain of separable convolutions, and a warning says so.

    Args:
        outputs: The student's symbolic `Outputs`.
        last: Integer, index of the last tap.
        copied: Boolean, whether a branch starts with the weights of the layers that it
            repeats, as for a student that is trained already. Defaults to `False`.

    Returns:
        List of `keras.Model` from a tap to `[map, logits]`, the map of the last tap's
        shape, the logits of the student's kind.
    """
    ends = [outputs.features[last], outputs.logits]
    built, reasons = [], []
    for i, tap in enumerate(outputs.features):
        if i == last:
            continue
        with keras.name_scope(f"branch{i}"):
            try:
                branch = copy_of_part(tap, ends, copied)
            except (NotImplementedError, TypeError, ValueError) as error:
                size = "x".join(map(str, tap.shape[1:]))
                reasons.append(f"{size} ({str(error).strip().splitlines()[0]})")
                branch = chain(tap, *ends)
        branch.name = f"branch{i}"
        built.append(branch)
    if reasons:
        warnings.warn(
            "The student's layers after these maps cannot be copied, so branches there "
            f"are separable convolutions instead: {', '.join(reasons)}.",
            stacklevel=2,
        )
    return built


def copy_of_part(tap, ends, copied=False):
    """The part of a student from a tap to `ends`, all of it trained.

    With weights of its own, fresh ones or those of the student.

    Raises:
        ValueError: if the part reads more than the tap.
        TypeError, NotImplementedError: if a layer's config does not make a new one.
    """

    def fresh(layer):
        if not getattr(layer, "variables", ()):
            return layer
        return type(layer).from_config(with_new_weights(layer.get_config()))

    part = part_after(tap, ends)
    copy = keras.models.clone_model(part, clone_function=fresh)
    if copied:
        copy.set_weights(part.get_weights())
    return copy


def part_after(tap, ends):
    """The student's own layers from a tap to `ends`, as a model.

    Raises:
        ValueError: if they read more than the tap.
    """
    try:
        # Keras 3.13 notices only when it runs the layers again.
        return keras.models.clone_model(
            keras.Model(tap, ends), clone_function=lambda layer: layer
        )
    except (KeyError, ValueError) as error:
        raise ValueError(
            "they read other maps too, or call a layer again that made this one"
        ) from error


def with_new_weights(config):
    """A layer's config, trained, and without seeds, which would repeat its weights."""
    if isinstance(config, dict):
        replaced = {"seed": None, "trainable": True}
        return {key: replaced.get(key, with_new_weights(config[key])) for key in config}
    if isinstance(config, (list, tuple)):
        return type(config)(map(with_new_weights, config))
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
        x = conv_bn_relu(x, channels, f"block{block}")
    if x.shape[1:3] != last.shape[1:3]:
        x = layers.Resizing(*last.shape[1:3], name="resize")(x)
    return keras.Model(start, [x, prediction_head([x], logits)])


def bottleneck_branches(outputs, last):
    """Builds a branch of bottlenecks on every tap but the last.

    Each bottleneck (1x1, 3x3, 1x1 convolutions, a quarter of the channels inside)
    halves the map and doubles its channels, until it is of the last tap's size; the
    last one has the last tap's channels.

    Args:
        outputs: The student's symbolic `Outputs`.
        last: Integer, index of the last tap.

    Returns:
        List of `keras.Model`, as `branches` does.
    """
    end = outputs.features[last]
    built = []
    for i, tap in enumerate(outputs.features):
        if i == last:
            continue
        x = start = keras.Input(batch_shape=tap.shape, dtype=tap.dtype)
        ratio = min(tap.shape[axis] / end.shape[axis] for axis in (1, 2))
        halvings = int(math.log2(max(ratio, 1)))
        for left in reversed(range(max(halvings, 1))):
            channels = min(2 * x.shape[-1], end.shape[-1]) if left else end.shape[-1]
            x = bottleneck(x, channels, 2 if halvings else 1, f"bottleneck{left}")
        if x.shape[1:3] != end.shape[1:3]:
            x = layers.Resizing(*end.shape[1:3], name="resize")(x)
        logits = exit_head(x, outputs.logits)
        built.append(keras.Model(start, [x, logits], name=f"branch{i}"))
    return built


def exit_head(x, logits):
    """Logits of the student's kind: pool and Dense, or a 1x1 convolution."""
    classes, full = logits.shape[-1], keras.config.floatx()
    if is_dense(logits):
        return layers.Conv2D(classes, 1, dtype=full, name="logits")(x)
    pooled = layers.GlobalAveragePooling2D(name="pool")(x)
    return layers.Dense(classes, dtype=full, name="logits")(pooled)


def bottleneck(x, channels, strides, name):
    """Three convolutions with BatchNorm and ReLU, Keras's own: an exit is shipped."""
    inner = max(channels // 4, 4)
    shapes = ((inner, 1, 1), (inner, 3, strides), (channels, 1, 1))
    for number, (filters, size, stride) in enumerate(shapes):
        part = f"{name}_{number}"
        options = {"padding": "same", "use_bias": False, "name": part}
        x = layers.Conv2D(filters, size, stride, **options)(x)
        x = layers.BatchNormalization(epsilon=1e-5, momentum=0.9, name=f"{part}_bn")(x)
        x = layers.ReLU(name=f"{part}_relu")(x)
    return x


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
    x = layers.Concatenate(name="concatenate")(inputs)
    x = layers.Conv2D(maps[-1].shape[-1], 1, use_bias=False, name="fusion")(x)
    if not is_dense(logits):
        x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dense(classes, dtype=full, name="logits")(x)
    return keras.Model(inputs, x, name="self_teacher")
