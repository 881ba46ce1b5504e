"""What kind of loss was compiled, found by trying it on a few logits.

Names tell nothing of a user's own functions, which are as common as Keras's losses.
"""

from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

_FAR = 6.0  # Logits from -6 to 6 are probabilities from 0.002 to 0.998.
_OTHERS = (-3.0, 1.0)


class LossKind(NamedTuple):
    """What a loss takes its labels for.

    Attributes:
        multi_label: Whether each logit is a question of its own, as in binary
            cross-entropy, rather than one of several classes.
        unbounded: Whether labels outside of [0, 1] let the loss fall without end.
    """

    multi_label: bool = False
    unbounded: bool = False


def kind_of(loss, shape, integers=False, name=""):
    """Tries a loss, in about ten evaluations.

    Args:
        loss: Function `(y_true, y_pred)`.
        shape: `(batch, ..., classes)` of logits, all known.
        integers: Boolean, whether its labels are the numbers of classes. Defaults to
            `False`: `(batch, ..., classes)`.
        name: What messages call it. Defaults to its own name.

    Returns:
        `LossKind`.

    Raises:
        ValueError: if the loss does not fall where the logits of the right classes
            rise, as losses of probabilities do not, or fails.
    """
    name = name or name_of(loss)
    try:
        falls = all(_falls(loss, shape, integers, other) for other in _OTHERS)
    except (TypeError, ValueError, tf.errors.OpError) as error:
        raise ValueError(
            f"The compiled loss fails for logits {('batch', *shape[1:])} and "
            f"{'integer' if integers else 'one-hot'} labels. Received: loss="
            f"{name}. The cause: {error}"
        ) from error
    if not falls:
        raise ValueError(_wrong(name, shape[-1]))
    if integers:
        return LossKind()
    return LossKind(_is_multi_label(loss, shape), _is_unbounded(loss, shape))


def name_of(loss):
    """What messages call a loss."""
    return getattr(loss, "name", None) or getattr(loss, "__name__", repr(loss))


def _wrong(name, classes):
    function = "sigmoid" if classes == 1 else "softmax"
    return (
        "The student outputs logits, but the compiled loss does not fall where the "
        "logits of the right classes rise: it seems to expect probabilities. Compile "
        f"with a function of `{function}(logits)`, for example `lambda y, z: "
        f"keras.losses.dice(y, keras.ops.{function}(z))`, or with a cross-entropy "
        f"with `from_logits=True` ({'Binary' if classes == 1 else 'Categorical'}"
        f"Crossentropy for {classes} logit{'s' * (classes > 1)}). Received: "
        f"loss={name}"
    )


def _falls(loss, shape, integers, other):
    """Whether the loss falls as right logits rise, with `other` for all the others."""
    right = min(1, shape[-1] - 1)
    labels = np.zeros(shape, "float32")
    labels[..., right] = 1.0
    rises = [labels.copy()]
    if shape[-1] == 1:  # Two classes: half of the batch is labelled 0, and has to fall.
        labels[::2] = 0.0
        rises = [labels, labels - 1.0]
    y = np.full(shape[:-1], float(right), "float32") if integers else labels
    for rise in rises:
        values = [
            _value(loss, y, np.where(rise == 0.0, other, far * rise))
            for far in (-_FAR, 1.0 - _FAR, _FAR)
        ]
        if not (np.isfinite(values).all() and values[0] > max(values[1:])):
            return False
    if not integers:
        return True
    # A wrong logit must not help, as where a class's number is a value for each logit.
    before, after = (_value(loss, y, _logits(shape, 0, z, -3.0)) for z in (-3.0, -2.0))
    return after >= before


def _is_multi_label(loss, shape):
    """Whether what a logit changes is the same wherever the others are."""
    if shape[-1] == 1:
        return True
    labels = np.zeros(shape, "float32")
    labels[..., 1] = 1.0
    changes = []
    for first in (-9.0, 9.0):
        before = _logits(shape, 0, first, -9.0)
        before[..., 1] = 1.0
        after = before.copy()
        after[..., 1] += 1.0
        changes.append(_value(loss, labels, after) - _value(loss, labels, before))
    return bool(np.isclose(*changes, rtol=1e-2, atol=1e-6))


def _is_unbounded(loss, shape):
    return any(
        _value(loss, np.full(shape, y), np.full(shape, far)) < -1.0
        for y, far in ((2.0, 1000.0), (-1.0, -1000.0))
    )


def _logits(shape, place, value, other):
    logits = np.full(shape, other, "float32")
    logits[..., place] = value
    return logits


def _value(loss, labels, logits):
    both = (tf.constant(each, keras.config.floatx()) for each in (labels, logits))
    return float(tf.reduce_sum(loss(*both)))
