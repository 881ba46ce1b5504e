"""The compiled loss as methods use it: unreduced, on any logits, at any time."""

import inspect

import keras
import tensorflow as tf
from keras import ops

from keras_selfkd import labels
from keras_selfkd.distributed.replicas import sum_over_replicas
from keras_selfkd.loss_kind import LossKind, kind_of, name_of
from keras_selfkd.mixing import MixedLabels
from keras_selfkd.pixels import fit_weight, for_each_logit


class Supervision:
    """Callable `(y, logits) -> loss`, `(batch,)` or `(batch, height, width)`.

    For `MixedLabels` it is the weighted sum of the losses of both labels. A compiled
    loss that gives one value for the batch stays a scalar, times the mean weight.

    Args:
        loss: What `compile(loss=...)` was given: a `keras.losses.Loss`, a function
            `(y_true, y_pred)`, or the name of one.

    Raises:
        ValueError: for several losses, one on probabilities, or one without a
            reduction.

    Attributes:
        multi_label: Whether each logit is a yes or no of its own, known once
            `check_labels` has tried the loss. False before.
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
        self._has_from_logits = from_logits_argument(resolved) is not None
        self._name, self._kind = name_of(resolved), LossKind()
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
        y = ops.convert_to_tensor(for_each_logit(y, logits), dtype=dtype)
        loss = self.per_example(y, ops.convert_to_tensor(logits, dtype=dtype))
        if len(loss.shape) == len(logits.shape):  # A value for each logit.
            loss = (ops.sum if self.reduction == "sum" else ops.mean)(loss, axis=-1)
        return loss

    @property
    def multi_label(self):
        return self._kind.multi_label

    def labelled(self, y, logits):
        """Mask of the labels that are not ignored, or `None` where none can be.

        It is `(batch,)`, or `(batch, height, width)` for pixels.
        """
        if self.ignore_class is None:
            return None
        y = ops.squeeze(y, -1) if len(y.shape) == len(logits.shape) else y
        return ops.not_equal(labels.comparable(y), self.ignore_class)

    def check_labels(self, y, logits):
        """Checks that labels fit the logits, and the loss both.

        Returns:
            List of assertions that the step's forward pass must wait for.

        Raises:
            ValueError: if the shape does not fit, or the loss is one on probabilities.
            tf.errors.InvalidArgumentError: in the step, if a label is out of range.
        """
        labels.check_numbers(y)
        integers = self._takes_integers(y, logits)
        shape = labels.check_shape(y, logits, integers)
        with tf.init_scope():
            self._kind = kind_of(self.per_example, (2, *shape), integers, self._name)
        classes = logits.shape[-1]
        if integers:
            return labels.in_classes(y, classes, self.ignore_class)
        return labels.in_range(y, 0.0 if self._has_from_logits else self._kind.least)

    def _takes_integers(self, y, logits):
        """Whether labels are numbers of classes; only an unknown loss takes both."""
        if self._has_from_logits or logits.shape[-1] == 1:
            return self.is_sparse
        return len(y.shape) < len(logits.shape) or y.shape[-1] == 1

    def reduce(self, values, sample_weight=None, valid=None, copies=1, portion=1.0):
        """This replica's share of a term: shares add up to the term over all replicas.

        Args:
            values: A scalar, `(batch,)` or `(batch, height, width)` loss.
            sample_weight: `None`, `(batch,)` or `(batch, height, width)` weights.
            valid: `None` or a `(batch, height, width)` mask for values of that shape.
            copies: Number of replicas that computed the same values.
            portion: This replica's share of the examples, for means over its own.
        """
        dtype = keras.config.floatx()
        values = ops.cast(values, dtype)
        if not values.shape.rank:
            if sample_weight is None:
                return values * ops.cast(portion, dtype)
            values = ops.broadcast_to(values, ops.shape(sample_weight)[:1])
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


def from_logits_argument(loss):
    """The loss's `from_logits`, or `None` where it has no such argument."""
    if isinstance(loss, keras.losses.Loss):
        return getattr(loss, "from_logits", loss.get_config().get("from_logits"))
    parameter = inspect.signature(loss).parameters.get("from_logits")
    return parameter.default if parameter else None


def check_from_logits(loss):
    if from_logits_argument(loss) is False:
        raise ValueError(
            "The student outputs logits, but the compiled loss expects probabilities. "
            "Compile with `from_logits=True`, for example "
            "`keras.losses.SparseCategoricalCrossentropy(from_logits=True)`. Received: "
            f"loss={name_of(loss)!r} with from_logits=False"
        )


def is_sparse(loss):
    function = getattr(loss, "fn", loss)
    return function is keras.losses.sparse_categorical_crossentropy or isinstance(
        loss, keras.losses.SparseCategoricalCrossentropy
    )


def check_compiled(model):
    """Refuses weights of the compiled loss, which are metrics in the wrong place."""
    given = (model.get_compile_config() or {}).get("loss_weights")
    if given is not None:
        raise ValueError(
            "The student has one loss, so `compile` takes no `loss_weights`. Its third "
            "positional argument is that, not the metrics: write `compile(optimizer, "
            f"loss, metrics=[...])`. Received: loss_weights={given}"
        )
