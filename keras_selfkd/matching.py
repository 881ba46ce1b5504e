"""Comparing a student's taps with a teacher's maps, whoever the teacher is."""

import keras
import tensorflow as tf
from keras import ops

from keras_selfkd.networks import conv_bn_relu
from keras_selfkd.replicas import replica_count


def check_feature_loss(feature_loss):
    """Refuses a feature loss that could not be saved with the model."""
    if isinstance(feature_loss, keras.layers.Layer):
        return
    name = getattr(feature_loss, "__name__", None)
    if name is None or keras.saving.get_registered_name(feature_loss) == name:
        raise ValueError(
            "The feature loss must be registered, so that the model can be saved. "
            "Decorate it with `@keras_selfkd.losses.feature_loss(default_weight=...)` "
            "or `@keras.saving.register_keras_serializable()`. Received: "
            f"feature_loss={feature_loss!r}"
        )


def default_weight(feature_loss):
    """The weight that a feature loss declares for itself."""
    weight = getattr(feature_loss, "default_weight", None)
    if weight is None:
        raise ValueError(
            "This feature loss has no default weight: pass `feature_weight=...`. "
            f"Received: feature_loss={feature_loss!r}"
        )
    return weight


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
        channels, sync = target.shape[-1], replica_count() > 1
        if regressor:
            x = conv_bn_relu(inputs, channels, "projection", sync)
        elif same_channels and channels != tap.shape[-1]:
            convolution = keras.layers.Conv2D(
                channels, 1, use_bias=False, name="projection"
            )
            x = convolution(inputs)
        else:
            x = keras.layers.Identity(name="unchanged")(inputs)
        found.append(keras.Model(inputs, x, name="to_target"))
    return found


def compare(feature_loss, targets, taps, projections, valid):
    """The sum of a feature loss over the levels, `(batch,)`.

    Args:
        feature_loss: Function or Layer `(target, prediction, mask=None)`.
        targets: List of a teacher's maps, resized bilinearly where a tap has another
            size.
        taps: List of the student's maps.
        projections: List of networks for the taps.
        valid: Mask `(batch, height, width)` of the pixels that are not void, or
            `None`.
    """
    return sum(
        feature_loss(
            resized_like(target, tap),
            project(tap, training=True),
            mask=mask_at(valid, tap),
        )
        for target, tap, project in zip(targets, taps, projections, strict=True)
    )


def resized_like(maps, reference):
    """Maps or dense logits, bilinearly brought to the size of others."""
    if len(maps.shape) != 4:
        return maps
    size = reference.shape[1:3]
    if maps.shape[1:3] == size:
        return maps
    # Not Keras's: it takes no size that is only known in the step.
    size = ops.shape(reference)[1:3] if None in tuple(size) else size
    return ops.cast(tf.image.resize(maps, size), maps.dtype)


def enlarged(logits, masks):
    """Dense logits bilinearly enlarged to the size of the masks.

    Raises:
        ValueError: if the masks are smaller.
    """
    if len(logits.shape) == 4:
        for size, least in zip(masks.shape[1:3], logits.shape[1:3], strict=True):
            if size is not None and size < least:
                raise ValueError(
                    "Masks may be larger than the logits, not smaller. Received: masks "
                    f"{tuple(masks.shape)}, logits {tuple(logits.shape)}"
                )
    return resized_like(logits, masks)


def mask_at(valid, feature):
    """Where most of the pixels under a map's position are valid, as a mask.

    `None`, for no void pixels, stays `None`.
    """
    if valid is None:
        return None
    rows, columns = (
        shares_of_pixels(size, cells)
        for size, cells in zip(ops.shape(valid)[1:], feature.shape[1:3], strict=True)
    )
    valid = ops.cast(valid, "float32")
    return ops.einsum("ih,bhw,jw->bij", rows, valid, columns) > 0.5


def shares_of_pixels(size, cells):
    """Which share of each cell each of `size` pixels is: `(cells, size)`."""
    length = ops.cast(size, "float32") / cells
    ends = ops.arange(1, cells + 1, dtype="float32") * length
    starts = ends - length
    pixels = ops.arange(size, dtype="float32")
    common = ops.minimum(ends[:, None], pixels + 1) - ops.maximum(
        starts[:, None], pixels
    )
    return ops.maximum(common, 0.0) / length
