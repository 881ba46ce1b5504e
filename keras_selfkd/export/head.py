"""What a deployed model decides from its logits."""

import keras
import tensorflow as tf

HEADS = (None, "softmax", "argmax", "sigmoid")


def with_head(logits, head, size):
    """Probabilities or classes from logits, whatever the global dtype policy is."""
    exact = {"dtype": "float32"}
    if len(logits.shape) == 4 and logits.shape[1:3] != size:
        logits = keras.layers.Resizing(*size, **exact)(logits)
    if head == "sigmoid":
        return keras.layers.Activation("sigmoid", **exact)(logits)
    if logits.shape[-1] == 1:  # The second of two logits, whose first is 0.
        logits = keras.layers.Concatenate(**exact)([0.0 * logits, logits])
    decide = keras.layers.Softmax if head == "softmax" else Argmax
    return decide(**exact)(logits)


@keras.saving.register_keras_serializable(package="keras_selfkd")
class Argmax(keras.layers.Layer):
    """Classes of largest logit, int32, in an operator that int8 files have, too."""

    def call(self, logits):
        return tf.argmax(logits, -1, output_type=tf.int32)

    def compute_output_spec(self, logits):
        return keras.KerasTensor(logits.shape[:-1], "int32")
