"""Losses between logits."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_selfkd")
def soft_label(target, prediction, temperature=4.0, multi_label=False):
    """Temperature-scaled Kullback-Leibler divergence of the prediction's classes.

    `T^2 * sum_c p_c (log p_c - log q_c)` with `p = softmax(target / T)` and
    `q = softmax(prediction / T)`. It stays in log space, so that confident logits
    keep their gradient, and computes in float32.

    Args:
        target: Teacher logits `(..., classes)`; no gradient flows into them. A
            single logit `z` (binary) counts as the two logits `(0, z)`.
        prediction: Student logits of the same shape.
        temperature: Float above 0 that softens both distributions. Defaults to 4.
        multi_label: Boolean, whether each logit is a label of its own. It then counts
            as `(0, z)`, and the divergence is the mean over the labels, as Keras's
            binary cross-entropy is. Defaults to `False`.

    Returns:
        Tensor `(...)`, for example `(batch,)`, or `(batch, height, width)` for
        dense logits.

    Example:

    >>> import numpy as np
    >>> loss = soft_label(np.array([[0.0, 0.0]]), np.array([[0.0, 4.0]]), 4.0)
    >>> print(np.round(np.array(loss), 4))
    [1.9218]
    >>> target, prediction = np.array([[9.0, 9.0]]), np.array([[-9.0, -9.0]])
    >>> for multi_label in (False, True):  # All are there, or none is.
    ...     print(np.array(soft_label(target, prediction, 1.0, multi_label)).round(2))
    [0.]
    [9.]

    References:
        Hinton et al., "Distilling the Knowledge in a Neural Network", 2015,
        https://arxiv.org/abs/1503.02531
    """
    target = ops.stop_gradient(target)
    if multi_label:
        target, prediction = (
            ops.expand_dims(target, -1),
            ops.expand_dims(prediction, -1),
        )
    log_target = log_probabilities(target, temperature)
    log_prediction = log_probabilities(prediction, temperature)
    divergence = ops.exp(log_target) * (log_target - log_prediction)
    divergence = temperature**2 * ops.sum(divergence, axis=-1)
    return ops.mean(divergence, axis=-1) if multi_label else divergence


def log_probabilities(logits, temperature):
    logits = ops.cast(logits, keras.backend.result_type(logits.dtype, "float32"))
    if logits.shape[-1] == 1:
        logits = ops.concatenate([ops.zeros_like(logits), logits], axis=-1)
    return ops.log_softmax(logits / temperature, axis=-1)
