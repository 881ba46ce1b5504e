"""Zipf's law over the classes that an image does not show."""

import keras
from keras import ops


def check_others(logits):
    """Refuses logits of fewer than three classes: there are no two others to rank."""
    if logits.shape[-1] < 3:
        raise ValueError(
            "Zipf's law ranks the classes that an image does not show, so there must "
            f"be at least three classes. Received: logits {tuple(logits.shape)}"
        )


def ranks_of(scores, target):
    """Places of the other classes, the highest score first: floats `(batch, classes)`.

    Args:
        scores: `(batch, classes)`.
        target: Boolean `(batch, classes)`, true at the image's own class.

    Returns:
        1 to `classes - 1`, and `classes` at the target. Of equal scores the lower
        class comes first.
    """
    scores = ops.where(target, -float("inf"), scores)
    return ops.cast(ops.argsort(ops.argsort(-scores)) + 1, keras.config.floatx())


def zipf(ranks, target):
    """Shares of the other classes, `1 / rank`, that add up to 1; 0 at the target.

    Example:

    >>> import numpy as np
    >>> target = np.array([[True, False, False, False]])
    >>> ranks = ranks_of(np.array([[9.0, 1.0, 3.0, 2.0]]), target)
    >>> print(np.array(zipf(ranks, target)).round(3))
    [[0.    0.182 0.545 0.273]]
    """
    shares = ops.where(target, 0.0, 1.0 / ranks)
    return shares / ops.sum(shares, axis=-1, keepdims=True)


def log_softmax_of_others(logits, target):
    """Log-probabilities of the other classes among themselves; 0 at the target."""
    others = ops.where(target, ops.cast(-1e9, logits.dtype), logits)
    return ops.where(target, 0.0, ops.log_softmax(others, axis=-1))
