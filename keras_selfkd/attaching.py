"""Putting a method on a student: what is refused, and what a failure leaves."""

import contextlib

import keras

from keras_selfkd.distributed.layers import layers_in
from keras_selfkd.method import Method
from keras_selfkd.terms import Terms


def check_method(student, method):
    """Refuses what is no method object: a class, a name, or swapped arguments."""
    if isinstance(method, Method):
        return
    expected = "a method object, such as `Supervised()`"
    if isinstance(student, Method):
        expected += ", after the student: `SelfDistillationModel(student, method)`"
    elif isinstance(method, type):
        expected += f": write `{method.__name__}()`, with parentheses"
    raise ValueError(f"Expected method to be {expected}. Received: method={method!r}")


def check_kind(method, logits):
    """Refuses pixel students for methods of classes alone, and tokens to be mixed."""
    if len(logits.shape) == 3 and method.mixing is not None:
        raise ValueError(
            "Mixing needs classes, or pixels at their height and width, not tokens. "
            "Reshape the logits with `keras.layers.Reshape((height, width, classes))`. "
            f"Received: logits {tuple(logits.shape)} and mixing={method.mixing!r}"
        )
    if len(logits.shape) > 2 and not method.dense:
        raise ValueError(
            f"{type(method).__name__} is for classifiers, not for students that "
            f"predict pixels or tokens. Received: logits {tuple(logits.shape)}"
        )


def tell_labels(method, multi_label):
    """Tells a method the kind of labels that it trains on; refuses what it cannot."""
    if multi_label and method.exclusive:
        raise ValueError(
            f"{type(method).__name__} needs labels that exclude each other. Received: "
            "a compiled loss in which each logit is a yes or no of its own"
        )
    method.multi_label = multi_label


@contextlib.contextmanager
def free_if_it_fails(method):
    """Inside, a method is attached; after an error it is as free as it was before."""
    layers = [method, *layers_in(method)]  # It may hold another method.
    free = [one for one in layers if isinstance(one, Method) and not one.built]
    try:
        yield
    except Exception:
        for one in free:
            one.built = False
        raise


def attached(method, student, outputs, policy):
    """Attaches a method to a student; returns its `Terms`.

    Args:
        method: A `Method` that belongs to no student yet.
        student: Keras model.
        outputs: Its symbolic `Outputs`.
        policy: The dtype policy that the method's networks get.

    Raises:
        ValueError: if the student does not fit; the method stays usable.
    """
    with dtype_policy(policy), free_if_it_fails(method):
        check_kind(method, outputs.logits)
        method.attach(student, outputs)
        return Terms(method)


@contextlib.contextmanager
def dtype_policy(policy):
    """Layers made inside get this policy, whatever the global one is."""
    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(previous)
