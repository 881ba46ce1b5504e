"""The optimizer of the papers' recipes."""

import keras


@keras.saving.register_keras_serializable(package="keras_selfkd")
class SGDWithL2(keras.optimizers.SGD):
    """Stochastic gradient descent with coupled L2, as the papers train.

    Adds `l2 * weight` to the gradient of every trainable variable, those of a
    self-teacher, biases and BatchNorm included, before momentum. Keras's own
    `weight_decay` is decoupled: it multiplies the weight by `1 - learning_rate *
    weight_decay` and never enters the momentum. Clipping acts on the gradient before
    L2 is added.

    Args:
        learning_rate: Float or `keras.optimizers.schedules.LearningRateSchedule`.
            Defaults to `0.01`.
        momentum: Float in [0, 1). Defaults to `0.0`.
        nesterov: Whether to apply Nesterov momentum. Defaults to `False`.
        l2: Float, at least 0. Equal to a `keras.regularizers.L2(l2 / 2)` on every
            trainable variable, without its value in the loss. Defaults to `0.0`.
        **kwargs: Passed on to `keras.optimizers.SGD`.

    Raises:
        ValueError: If `l2` is negative.

    Example:
    >>> weight = keras.Variable([1.0])
    >>> SGDWithL2(learning_rate=0.1, l2=0.5).apply([keras.ops.zeros(1)], [weight])
    >>> print(f"{float(weight[0]):.2f}")  # 1 - 0.1 * 0.5 * 1
    0.95
    """

    def __init__(
        self, learning_rate=0.01, momentum=0.0, nesterov=False, l2=0.0, **kwargs
    ):
        if l2 < 0:
            raise ValueError(f"Expected `l2` to be at least 0. Received: l2={l2}")
        super().__init__(
            learning_rate=learning_rate, momentum=momentum, nesterov=nesterov, **kwargs
        )
        self.l2 = l2

    def update_step(self, gradient, variable, learning_rate):
        """Updates one variable with the gradient of the loss plus its L2."""
        weight = keras.ops.cast(variable, gradient.dtype)
        super().update_step(gradient + self.l2 * weight, variable, learning_rate)

    def get_config(self):
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "l2": self.l2}
