"""A batch as a method gets it, and the terms that it makes of it."""

import keras
import numpy as np
import tensorflow as tf

from keras_selfkd import Outputs
from keras_selfkd.batch import images_and_keys


def batch_of(images, labels, **others):
    """What a step hands to `prepare`."""
    images, keys = images_and_keys(images)
    batch = {"x": images, "y": labels, "sample_weight": None}
    batch |= {"labelled": None, "valid": None}
    scalars = {"progress": np.float32(0.0), "copies": np.int32(1)}
    return {**batch, **scalars, **keys, **others}


def cross_entropy(y, logits):
    return keras.losses.sparse_categorical_crossentropy(y, logits, from_logits=True)


def gradients_of(method, logits, batch):
    """The gradient of a method's sum of terms, and by finite differences.

    Args:
        method: Attached, of logits alone, computing in float64.
        logits: Array `(batch, classes)`.
        batch: What its `prepare` returned.
    """

    def total(z):
        terms = method.loss_terms(Outputs(z, []), batch, cross_entropy)
        return sum(terms[name] for name in terms)

    logits = tf.constant(logits, "float64")
    (theirs,), (ours,) = tf.test.compute_gradient(total, [logits])
    return ours, theirs


def terms_of(model, images, labels, supervise=cross_entropy, **others):
    """The student's outputs for a batch, and the method's terms of them."""
    prepared = model.method.prepare(batch_of(images, labels, **others))
    student = model.outputs_of(prepared["x"], training=True)
    return student, model.method.loss_terms(student, prepared, supervise)
