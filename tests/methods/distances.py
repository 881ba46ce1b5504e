"""Divergences restated in NumPy."""

import numpy as np
from scipy.special import log_softmax


def kl(target, prediction, temperature):
    """`T^2 KL(softmax(target / T) || softmax(prediction / T))` over the last axis."""
    log_p = log_softmax(np.asarray(target, "float64") / temperature, axis=-1)
    log_q = log_softmax(np.asarray(prediction, "float64") / temperature, axis=-1)
    return temperature**2 * (np.exp(log_p) * (log_p - log_q)).sum(-1)


def cross_entropy(labels, logits):
    """`-log softmax(logits)[label]`, of classes or pixels."""
    log_p = log_softmax(np.asarray(logits, "float64"), axis=-1)
    return -np.take_along_axis(log_p, np.asarray(labels)[..., None], -1)[..., 0]
