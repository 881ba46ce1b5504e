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
        least: The least label that means something to it: 0, or -1 where the loss is
            one of labels of -1 and 1 too, as hinges are.
    """

    multi_label: bool = False
    least: float = 0.0


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
            f"{'integer' if integers else 'one-hot'} labels. It may want labels of "
            f"another form, or a function of `softmax(logits)`. Received: loss={name}. "
            f"The cause: {error}"
        ) from error
    if not falls:
        raise ValueError(_wrong(name, shape[-1]))
    if integers:
        return LossKind()
    return LossKind(_is_multi_label(loss, shape), _least_label(loss, shape))


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
    labels = _labels(shape)
    # Of two classes with one logit, those labelled 0 have to fall.
    rises = [labels] if shape[-1] > 1 else [labels, labels - 1.0]
    y = np.argmax(labels, -1) if integers else labels
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
    wrong = np.roll(labels, 1, -1)
    before, after = (_value(loss, y, rise * wrong - 3.0) for rise in (0.0, 1.0))
    return after >= before


def _labels(shape):
    """One-hot labels in which classes take turns, also within an image."""
    positions = np.arange(np.prod(shape[:-1])).reshape(shape[:-1])
    if shape[-1] == 1:
        return (positions % 2 == 1)[..., None].astype("float32")
    classes = np.arange(shape[-1])
    return (positions[..., None] % shape[-1] == classes).astype("float32")


def _is_multi_label(loss, shape):
    """Whether a constant added to all logits changes something, unlike in a softmax."""
    labels = _labels(shape)
    before, after = (_value(loss, labels, labels + add) for add in (0.0, 1.0))
    return shape[-1] == 1 or not np.isclose(before, after, rtol=1e-4, atol=1e-6)


def _least_label(loss, shape):
    """-1 where the loss is never better for labels of -1 and 1 than for 0 and 1."""
    labels = _labels(shape)
    signs = 2.0 * labels - 1.0
    right, wrong = signs * 1000.0, signs * -1000.0
    signed = [
        _value(loss, y, logits)
        for y in (signs, np.full(shape, -1.0))
        for logits in (right, wrong, signs, -signs)
    ]
    best = min(_value(loss, labels, logits) for logits in (right, signs))
    return -1.0 if np.isfinite(signed).all() and min(signed) > best - 1e-3 else 0.0


def _value(loss, labels, logits):
    both = (tf.constant(each, keras.config.floatx()) for each in (labels, logits))
    return float(tf.reduce_sum(loss(*both)))
