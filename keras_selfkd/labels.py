"""What labels may be: their shape beside the logits, and their range."""

import keras
import tensorflow as tf
from keras import ops

from keras_selfkd.mixing import MixedLabels
from keras_selfkd.pixels import fit_weight


def check_numbers(y):
    """Refuses missing labels, and names."""
    if y is None:
        raise ValueError(
            "Training needs labels: pass `fit(x, y)` or a dataset of (images, "
            "labels). Received: y=None"
        )
    if tf.as_dtype(y.dtype) == tf.string:
        raise ValueError(
            "Labels must be numbers: map the names to integers with "
            f"`keras.layers.StringLookup`. Received: y of {y.dtype}"
        )


def check_shape(y, logits, integers):
    """Refuses labels of another shape than the logits ask for.

    Args:
        y: Labels `(batch, ...)`.
        logits: `(batch, classes)` or `(batch, height, width, classes)`.
        integers: Boolean, whether labels are numbers of classes.

    Returns:
        `(classes,)` or `(height, width, classes)` of logits as large as the labels.
    """
    expected = tuple(logits.shape[1:-1] if integers else logits.shape[1:])
    shape = tuple(y.shape[1:])
    fits = shape in (expected, (*expected, 1)) or (*shape, 1) == expected
    if not fits and not _are_larger_masks(shape, expected):
        raise ValueError(
            f"The labels do not fit the logits. Expected shape (batch, *{expected})"
            f" for this loss and logits {tuple(logits.shape)}. Received: y with "
            f"shape {tuple(y.shape)}. Integer labels need "
            "SparseCategoricalCrossentropy, one-hot labels "
            "CategoricalCrossentropy. Masks may be larger than the logits."
        )
    sizes = zip(logits.shape[1:-1], shape, strict=False)
    return *(known or least for least, known in sizes), logits.shape[-1]


def _are_larger_masks(shape, expected):
    """Whether labels are masks that the logits can be enlarged to."""
    if len(expected) < 2 or len(shape) < 2:
        return False
    last = expected[2:]
    fits = shape[2:] in (last, (*last, 1)) or (*shape[2:], 1) == last
    return fits and all(
        size is None or size >= least
        for size, least in zip(shape[:2], expected[:2], strict=True)
    )


def in_classes(y, classes, ignore_class=None):
    """Asserts that labels are numbers of classes: a list to wait for in a step.

    Raises:
        tf.errors.InvalidArgumentError: in the step, or at once in eager execution.
    """
    y = comparable(y)
    allowed = (y >= 0) & (y < classes)
    if ignore_class is not None:
        allowed |= y == ignore_class
    if y.dtype.is_floating:
        allowed &= y == tf.round(y)
    return _assertion(
        allowed,
        y,
        f"Labels must lie in [0, {classes}), the student's number of classes (void "
        f"pixels: ignore_class={ignore_class}), and be whole numbers.",
    )


def in_range(y, least=0.0):
    """Asserts that labels lie in [least, 1], as `in_classes` does."""
    y = comparable(y)
    return _assertion(
        (tf.cast(y, tf.float64) >= least) & (y <= 1),
        y,
        f"Labels must lie in [{least:g}, 1] for this loss: 0 or 1, one-hot, or shares "
        "between. Map masks of 0 and 255 with `masks / 255`, labels of -1 and 1 with "
        "`(labels + 1) / 2`; numbers of classes need SparseCategoricalCrossentropy.",
    )


def _assertion(allowed, y, message):
    message += " Received labels from, to:"
    fine, data = tf.reduce_all(allowed), [tf.reduce_min(y), tf.reduce_max(y)]
    if not tf.executing_eagerly():
        return [tf.debugging.Assert(fine, [message, *data])]
    if not fine:
        found = ", ".join(str(value.numpy()) for value in data)
        raise tf.errors.InvalidArgumentError(None, None, f"{message} {found}")
    return []


def comparable(y):
    """Labels in a dtype that holds any class's number, as small integers may not."""
    y = tf.convert_to_tensor(y)
    return y if y.dtype.is_floating else tf.cast(y, tf.int64)


def class_numbers(y, logits):
    """Labels of one class each as int32 `(batch,)` or `(batch, height, width)`.

    Args:
        y: Integers with or without a last axis of 1, or one-hot vectors. Of what lies
            between two, the nearest.
        logits: `(batch, classes)` or `(batch, height, width, classes)`.
    """
    y = tf.convert_to_tensor(y)
    if len(y.shape) == len(logits.shape):
        one_hot = y.shape[-1] != 1
        y = tf.argmax(y, axis=-1) if one_hot else tf.squeeze(y, axis=-1)
    return tf.cast(tf.round(y) if y.dtype.is_floating else y, "int32")


def is_class(y, logits):
    """Whether each class is the label's: booleans of the logits' shape.

    Labels that are no class, such as those that the compiled loss ignores, are none.
    """
    return ops.one_hot(class_numbers(y, logits), logits.shape[-1], dtype="bool")


def counted(batch, rank):
    """Mask of the labels that are neither ignored nor of weight 0; `None` for all.

    Args:
        batch: A method's batch.
        rank: 1 for classes, 3 for pixels.
    """
    mask, weight = batch["labelled"], batch["sample_weight"]
    if weight is None:
        return mask
    weighs = fit_weight(ops.convert_to_tensor(weight), rank) > 0
    return weighs if mask is None else ops.logical_and(mask, weighs)


def labelled_alone(values, labelled):
    """Values `(batch,)` or `(batch, height, width)`, 0 where a label is ignored."""
    return values if labelled is None else ops.where(labelled, values, 0.0)


def label_marks(batch):
    """Labels as rows to remember, `(batch, 1)`: class + 1, 0 if it does not count."""
    y = batch["y"].own if isinstance(batch["y"], MixedLabels) else batch["y"]
    classes = ops.cast(class_numbers(y, ops.ones((1, 2))), keras.config.floatx())
    return labelled_alone(classes + 1, counted(batch, 1))[:, None]
