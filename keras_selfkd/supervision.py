"""The compiled loss as methods use it: unreduced, on any logits, at any time."""

import inspect

import keras
import tensorflow as tf
from keras import ops

from keras_selfkd.matching import enlarged
from keras_selfkd.mixing import MixedLabels
from keras_selfkd.networks import is_dense
from keras_selfkd.replicas import replica_count, sum_over_replicas
from keras_selfkd.weights import fit_weight, per_pixel


class Supervision:
    """Callable `(y, logits) -> loss`, `(batch,)` or `(batch, height, width)`.

    For `MixedLabels` it is the weighted sum of the losses of both labels.

    Args:
        loss: What `compile(loss=...)` was given: a `keras.losses.Loss`, a function
            `(y_true, y_pred)`, or the name of one.

    Raises:
        ValueError: for several losses, one on probabilities, or one without a
            reduction.
    """

    def __init__(self, loss):
        if loss is None or isinstance(loss, (dict, list, tuple)):
            raise ValueError(
                "Compile with a single loss for the student's logits, for example "
                "`loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True)`. "
                f"Received: loss={loss!r}"
            )
        resolved = keras.losses.get(loss)
        check_from_logits(resolved)
        is_object = isinstance(resolved, keras.losses.Loss)
        self.per_example = resolved.call if is_object else resolved
        self.reduction = resolved.reduction if is_object else "sum_over_batch_size"
        self.ignore_class = getattr(resolved, "ignore_class", None)
        self.is_sparse = is_sparse(resolved)
        if self.reduction in (None, "none"):
            raise ValueError(
                "The compiled loss must have a reduction, so that replicas can share "
                "it. Use Keras's default, `reduction='sum_over_batch_size'`. Received: "
                f"loss={loss!r} with reduction={self.reduction!r}"
            )

    def __call__(self, y, logits):
        if isinstance(y, MixedLabels):
            own, partner = self(y.own, logits), self(y.partner, logits)
            if not own.shape.rank:
                raise ValueError(
                    "Mixing needs a compiled loss with a value for each example or "
                    "pixel, such as SparseCategoricalCrossentropy. Received: one value "
                    f"for the batch from {self.per_example!r}"
                )
            share = fit_weight(ops.cast(y.share, own.dtype), own.shape.rank)
            return share * own + (1.0 - share) * partner
        # As `Loss.__call__` does: labels and logits in the loss's dtype.
        dtype = keras.config.floatx()
        y = ops.convert_to_tensor(y, dtype=dtype)
        return self.per_example(y, ops.convert_to_tensor(logits, dtype=dtype))

    def valid_pixels(self, y, logits):
        """Mask `(batch, height, width)` of the pixels that are not void, or `None`."""
        if self.ignore_class is None or not is_dense(logits):
            return None
        y = ops.squeeze(y, -1) if len(y.shape) == 4 else y
        return ops.not_equal(y, ops.cast(self.ignore_class, y.dtype))

    def check_labels(self, y, logits):
        """Checks that labels fit the logits.

        Returns:
            List of assertions that the step's forward pass must wait for.

        Raises:
            ValueError: if the shape does not fit.
            tf.errors.InvalidArgumentError: in the step, if a label is out of range.
        """
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
        expected = tuple(logits.shape[1:-1] if self.is_sparse else logits.shape[1:])
        shape = tuple(y.shape[1:])
        fits = shape in (expected, (*expected, 1)) or (expected == (1,) and not shape)
        if not fits and not self._larger_masks(shape, expected):
            raise ValueError(
                f"The labels do not fit the logits. Expected shape (batch, *{expected})"
                f" for this loss and logits {tuple(logits.shape)}. Received: y with "
                f"shape {tuple(y.shape)}. Integer labels need "
                "SparseCategoricalCrossentropy, one-hot labels "
                "CategoricalCrossentropy. Masks may be larger than the logits; those "
                "of a binary student need a last axis, `masks[..., None]`."
            )
        return self._in_range(y, logits.shape[-1]) if self.is_sparse else []

    def _larger_masks(self, shape, expected):
        """Whether labels are masks that the logits can be enlarged to."""
        if len(expected) < 2 or len(shape) < 2:
            return False
        fits = shape[2:] in (expected[2:], (*expected[2:], 1))
        return fits and all(
            size is None or size >= least
            for size, least in zip(shape[:2], expected[:2], strict=True)
        )

    def _in_range(self, y, classes):
        y = tf.convert_to_tensor(y)
        allowed = (y >= 0) & (y < tf.cast(classes, y.dtype))
        if self.ignore_class is not None:
            allowed |= y == tf.cast(self.ignore_class, y.dtype)
        if y.dtype.is_floating:
            allowed &= y == tf.round(y)
        message = (
            f"Labels must lie in [0, {classes}), the student's number of classes (void "
            f"pixels: ignore_class={self.ignore_class}), and be whole numbers. "
            f"Received labels of {y.dtype.name} from, to:"
        )
        data = [message, tf.reduce_min(y), tf.reduce_max(y)]
        assertion = tf.debugging.Assert(tf.reduce_all(allowed), data)
        # Eager execution has asserted already, and returns nothing to wait for.
        return [] if assertion is None else [assertion]

    def reduce(self, values, sample_weight=None, valid=None, copies=1):
        """This replica's share of a term: shares add up to the term over all replicas.

        Args:
            values: A scalar, `(batch,)` or `(batch, height, width)` loss.
            sample_weight: `None`, `(batch,)` or `(batch, height, width)` weights.
            valid: `None` or a `(batch, height, width)` mask for values of that shape.
            copies: Number of replicas that computed the same values.
        """
        dtype = keras.config.floatx()
        values = ops.cast(values, dtype)
        if not values.shape.rank:
            return values / replica_count()
        # Keras's own order of operations, so that plain training agrees bit for bit.
        counted = ops.ones_like(values)
        if valid is not None and values.shape.rank == 3:
            counted = ops.cast(valid, dtype)
            values = ops.where(valid, values, 0.0)
        if sample_weight is not None:
            weight = fit_weight(ops.cast(sample_weight, dtype), values.shape.rank)
            values = values * weight
            if self.reduction == "mean_with_sample_weight":
                counted = counted * weight
        total = ops.sum(values)
        if self.reduction == "sum":
            return total / ops.cast(copies, dtype)
        return ops.divide_no_nan(total, sum_over_replicas(ops.sum(counted)))


def check_counts(batch):
    """Checks that there are as many labels and sample weights as images.

    Returns:
        List of assertions that the step's forward pass must wait for.

    Raises:
        ValueError: if the numbers are known and differ.
    """
    names = ("x", "y", "sample_weight")
    given = [name for name in names if getattr(batch[name], "shape", ())]
    message = f"Expected as many of each in a batch. Received: {', '.join(given)} = "
    known = [batch[name].shape[0] for name in given]
    if None not in known:
        if len(set(known)) > 1:
            raise ValueError(f"{message}{known}")
        return []
    counts = tf.stack([tf.shape(batch[name])[0] for name in given])
    equal = tf.reduce_all(counts == counts[0])
    return [tf.debugging.Assert(equal, [message, counts])]


def at_size_of(masks, logits, sample_weight):
    """Dense logits and their weights, one for each pixel of the masks."""
    if masks is None or not is_dense(logits):
        return logits, sample_weight
    if sample_weight is not None:
        sample_weight = per_pixel(sample_weight, masks)
    return enlarged(logits, masks), sample_weight


def from_logits_argument(loss):
    """The loss's `from_logits`, or `None` where it has no such argument."""
    if isinstance(loss, keras.losses.Loss):
        return getattr(loss, "from_logits", loss.get_config().get("from_logits"))
    parameter = inspect.signature(loss).parameters.get("from_logits")
    return parameter.default if parameter else None


def check_from_logits(loss):
    if from_logits_argument(loss) is False:
        name = getattr(loss, "name", None) or getattr(loss, "__name__", loss)
        raise ValueError(
            "The student outputs logits, but the compiled loss expects probabilities. "
            "Compile with `from_logits=True`, for example "
            "`keras.losses.SparseCategoricalCrossentropy(from_logits=True)`. Received: "
            f"loss={name!r} with from_logits=False"
        )


def is_sparse(loss):
    function = getattr(loss, "fn", loss)
    return function is keras.losses.sparse_categorical_crossentropy or isinstance(
        loss, keras.losses.SparseCategoricalCrossentropy
    )
