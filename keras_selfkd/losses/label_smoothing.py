"""Cross-entropy with smoothed labels, which stay integers for metrics and methods."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_selfkd")
class SmoothedCrossEntropy(keras.losses.SparseCategoricalCrossentropy):
    """Cross-entropy of logits to integer labels that are smoothed inside.

    Equal to `keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=s)`
    of one-hot labels: the label's class is `1 - s + s / classes` likely, each other one
    `s / classes`.

    Args:
        label_smoothing: Float in [0, 1), what is shared out among all classes. Defaults
            to `0.0`.
        **kwargs: Passed on to `keras.losses.SparseCategoricalCrossentropy`.

    Raises:
        ValueError: If `label_smoothing` is out of range.

    Example:
    >>> import numpy as np
    >>> loss = SmoothedCrossEntropy(label_smoothing=0.1)
    >>> value = loss(np.array([0]), np.array([[2.0, 0.0]]))
    >>> print(f"{float(value):.4f}")  # 0.95 * 0.1269 + 0.05 * 2.1269
    0.2269

    References:
        Christian Szegedy et al., "Rethinking the Inception Architecture for Computer
        Vision", https://arxiv.org/abs/1512.00567, 2015.
    """

    def __init__(self, label_smoothing=0.0, from_logits=True, **kwargs):
        if not 0 <= label_smoothing < 1:
            raise ValueError(
                "Expected `label_smoothing` to be in [0, 1). Received: "
                f"label_smoothing={label_smoothing}"
            )
        super().__init__(from_logits=from_logits, **kwargs)
        self.label_smoothing = label_smoothing

    def call(self, y_true, y_pred):
        """Returns the loss of each example."""
        own = super().call(y_true, y_pred)
        if not self.label_smoothing:
            return own
        even = -ops.mean(ops.log_softmax(y_pred), axis=-1)
        return (1 - self.label_smoothing) * own + self.label_smoothing * even

    def get_config(self):
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "label_smoothing": self.label_smoothing}
