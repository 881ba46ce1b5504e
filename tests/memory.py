"""Giving memory back that TensorFlow would keep."""

import itertools

import keras
from tensorflow.python.framework import ops

# Looking for garbage takes longer than most tests.
EVERY = 20
_calls = itertools.count(1)


def clear_session():
    """Keras's own, and frees the graphs of models that are gone, now and then.

    TensorFlow registers each custom gradient for ever, and its graph with it: tens of
    MB a training (https://github.com/tensorflow/tensorflow/issues/80895).
    """
    gradients = ops.gradient_registry._registry
    for name in [name for name in gradients if name.startswith("CustomGradient-")]:
        del gradients[name]
    keras.utils.clear_session(free_memory=next(_calls) % EVERY == 0)
