"""The optimizers of the papers' recipes, and of fine-tuning at two rates."""

import keras


class TwoRates:
    """Lets an optimizer train some variables at a part of its learning rate.

    In front of a Keras optimizer: `class Slower(TwoRates, keras.optimizers.Adam)`. The
    slow variables' learning rate, momentum's and decoupled weight decay's share in it,
    is `slow_rate` times the others', whatever the schedule.

    Args:
        slow_variables: List of paths of variables (`variable.path`), or of positions
            among the trainable ones: a file holds those, as paths may be others when a
            model is loaded. Defaults to none.
        slow_rate: Float in [0, 1]; 0 leaves these variables as they are. Defaults to
            `1.0`.

    Not for optimizers that decay weights in a way of their own, as Keras's Muon does.

    Raises:
        ValueError: If `slow_rate` is out of range, and on the first step for a path
            or position that no variable has.
    """

    def __init__(self, *args, slow_variables=(), slow_rate=1.0, **kwargs):
        if not 0 <= slow_rate <= 1:
            raise ValueError(
                f"Expected `slow_rate` to be in [0, 1]. Received: slow_rate={slow_rate}"
            )
        super().__init__(*args, **kwargs)
        self.slow_variables = list(slow_variables)
        self.slow_rate = slow_rate

    def build(self, variables):
        """Makes the state of the optimizer, and finds the slow ones of `variables`."""
        if self.built:
            return
        paths = [getattr(variable, "path", variable.name) for variable in variables]
        known = {*paths, *range(len(paths))}
        unknown = [one for one in self.slow_variables if one not in known]
        if unknown:
            raise ValueError(
                "Expected `slow_variables` to be paths of trainable variables, "
                f"`variable.path`. Received: {unknown[:3]}, which none has"
            )
        named = {*self.slow_variables}
        self.slow_variables = [
            position
            for position, path in enumerate(paths)
            if position in named or path in named
        ]
        self._factors = [1.0] * len(paths)
        for position in self.slow_variables:
            self._factors[position] = self.slow_rate
        super().build(variables)

    def update_step(self, gradient, variable, learning_rate):
        """Updates one variable at its own rate."""
        factor = self._factor_of(variable)
        if factor != 1.0:
            learning_rate = learning_rate * factor
            if self.weight_decay and super()._use_weight_decay(variable):
                rate = keras.ops.cast(learning_rate, variable.dtype)
                weight = keras.ops.convert_to_tensor(variable)
                self.assign_sub(variable, weight * self.weight_decay * rate)
        super().update_step(gradient, variable, learning_rate)

    def _use_weight_decay(self, variable):
        # Keras's own decay knows one rate: that of slow variables is in `update_step`.
        return self._factor_of(variable) == 1.0 and super()._use_weight_decay(variable)

    def _factor_of(self, variable):
        return self._factors[self._get_variable_index(variable)]

    def get_config(self):
        """Returns the arguments of the constructor."""
        return {
            **super().get_config(),
            "slow_variables": list(self.slow_variables),
            "slow_rate": self.slow_rate,
        }


@keras.saving.register_keras_serializable(package="keras_selfkd")
class AdamWAtTwoRates(TwoRates, keras.optimizers.AdamW):
    """`keras.optimizers.AdamW` that trains some variables at a part of its rate.

    Args:
        slow_variables: List of paths of variables (`variable.path`). Defaults to none.
        slow_rate: Float in [0, 1]. Defaults to `1.0`.
        *args: Passed on to `keras.optimizers.AdamW`, as are other keywords.

    Raises:
        ValueError: As `TwoRates` says.
    """


@keras.saving.register_keras_serializable(package="keras_selfkd")
class SGDWithL2(TwoRates, keras.optimizers.SGD):
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
        **kwargs: `slow_variables` and `slow_rate`, as in `TwoRates`; the others are
            passed on to `keras.optimizers.SGD`.

    Raises:
        ValueError: If `l2` is negative, or comes with `weight_decay` and
            `slow_variables`, and as `TwoRates` says.

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
        if l2 and self.weight_decay and self.slow_variables:
            raise ValueError(
                "Expected `l2` or `weight_decay` beside `slow_variables`, not both. "
                f"Received: l2={l2}, weight_decay={self.weight_decay}"
            )
        self.l2 = l2

    def update_step(self, gradient, variable, learning_rate):
        """Updates one variable with the gradient of the loss plus its L2."""
        weight = keras.ops.cast(variable, gradient.dtype)
        super().update_step(gradient + self.l2 * weight, variable, learning_rate)

    def get_config(self):
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "l2": self.l2}
