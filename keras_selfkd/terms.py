"""A method's named losses: which are in use, checked, reduced and weighed."""

import keras
import tensorflow as tf

from keras_selfkd.arguments import check_weight
from keras_selfkd.progress import Ramp


class Terms:
    """The terms of a method whose weight is not 0.

    Args:
        method: A `Method`, whose weights are read once.

    Raises:
        ValueError: for a weight that is no number of at least 0, ramp or schedule.
    """

    def __init__(self, method):
        for term, weight in method.loss_weights.items():
            check_weight(**{f"the weight of {method.name}'s {term!r}": weight})
        self.declared = {*method.terms, *method.loss_weights}
        self.weights = in_use(method.loss_weights)
        self.method_name = method.name

    def checked(self, terms, images, logits):
        """What a method returned, without terms of weight 0, each of a fitting shape.

        Args:
            terms: Dict from term to a scalar, `(batch,)` or `(batch, height, width)`.
            images: The user's images, `(batch, ...)`.
            logits: The student's logits, as large as the masks.

        Raises:
            ValueError: for other terms than the method declares, or another shape.
        """
        if not self.weights.keys() <= terms.keys() <= self.declared:
            raise ValueError(
                f"{self.method_name}: `loss_terms` must return the terms that it "
                f"declares, {sorted(self.declared)}. Received: {sorted(terms)}"
            )
        return {
            name: checked_term(name, terms[name], images, logits)
            for name in self.weights
        }

    def reduced(self, terms, batch, supervision, replica, step):
        """This replica's part of each term over the batch, times the term's weight.

        Args:
            terms: What `checked` returned.
            batch: The method's batch, with sample weights and valid pixels.
            supervision: `Supervision`, which reduces as the compiled loss does.
            replica: The replica's `ReplicaBatch` of the batch.
            step: Number of optimizer steps, for weights that are schedules of it.
        """
        reduced = {}
        for name, term in terms.items():
            value = supervision.reduce(
                term,
                batch["sample_weight"],
                batch["valid"],
                copies=replica.copies,
                portion=replica.portion,
            )
            weight = self.weights[name]
            if callable(weight):
                of_progress = isinstance(weight, Ramp)
                weight = weight(batch["progress"] if of_progress else step)
                weight = keras.ops.cast(weight, value.dtype)
            reduced[name] = weight * value
        return reduced


def in_use(weights):
    """The terms whose weight is not 0; one that varies may become another."""
    return {
        term: weight
        for term, weight in weights.items()
        if callable(weight) or weight != 0
    }


def checked_term(name, values, images, logits):
    """Returns a term that has one value, or one for each image or each pixel.

    Args:
        name: What messages call it.
        values: What a method returned.
        images: The user's images, `(batch, ...)`.
        logits: The student's logits, as large as the masks.

    Raises:
        ValueError: if the shape is known, and another one.
        tf.errors.InvalidArgumentError: in the step, if it is known there alone.
    """
    if values is not None:
        values = keras.ops.convert_to_tensor(values)
    shape = None if values is None else tuple(values.shape)
    message = (
        f"The term {name!r} must be a scalar, (batch,) or (batch, height, width): "
        "one view's, as many as images. Split views with `student.split(views)`. "
        f"Received: {name} with shape {shape} for {images.shape[0]} images"
    )
    if shape is None:
        raise ValueError(message)
    known = (images.shape[0], *logits.shape[1:-1])[: max(1, len(shape))]
    same = len(shape) in (0, 1, len(logits.shape) - 1) and all(
        None in (size, other) or size == other
        for size, other in zip(shape, known, strict=False)
    )
    if not same:
        raise ValueError(message)
    if not shape or None not in (shape[0], known[0]):
        return values
    equal = tf.shape(values)[0] == tf.shape(images)[0]
    check = tf.debugging.Assert(equal, [message, tf.shape(values)])
    with tf.control_dependencies([check]):
        return tf.identity(values)
