"""Giving memory back that TensorFlow would keep."""

import keras
from tensorflow.python.framework import ops


def clear_session():
    """Keras's own, and frees the graphs of models that are gone.

    TensorFlow registers each custom gradient for ever, and its graph with it: tens of
    MB a training (https://github.com/tensorflow/tensorflow/issues/80895).
    """
    gradients = ops.gradient_registry._registry
    for name in [name for name in gradients if name.startswith("CustomGradient-")]:
        del gradients[name]
    keras.utils.clear_session()
