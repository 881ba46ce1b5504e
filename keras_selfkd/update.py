"""What a step writes: held back until it is known to be finite on all replicas."""

import keras
import tensorflow as tf


class Writes(keras.StatelessScope):
    """Inside, variables keep their values, and what is written to them is recorded.

    BatchNorm statistics, seeds and whatever else a forward pass writes; so nothing
    must be copied before it, and nothing restored. The losses that layers add are
    recorded too, those of this replica's thread alone.
    """

    def __init__(self):
        super().__init__(collect_losses=True, initialize_variables=False)
        self._written = {}

    def add_update(self, update):
        variable, value = update
        if variable.trainable:
            # At once, as without the scope: a layer that replaces its own weight
            # (SpectralNormalization) wants the gradient of what it replaced it by.
            self.__exit__()
            variable.assign(value)
            self.__enter__()
            return
        super().add_update(update)
        self._written[id(variable)] = variable

    @property
    def variables(self):
        """List of the variables that were written to."""
        return [*self._written.values()]

    def values(self):
        """List of their last values."""
        return [self.get_current_value(variable) for variable in self.variables]


def nan_unless_finite(gradients, variables, values, optimizer, dtype):
    """0, or NaN where a gradient's sum is not finite, or a statistic no longer.

    Gradients do not count with a loss scale, which leaves out such steps itself.

    Args:
        gradients: List of gradients, some of them `None`.
        variables: List of the variables that the forward pass wants to write.
        values: List of what it wants to write there.
        optimizer: Keras optimizer.
        dtype: Of the result.
    """
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        gradients = []
    axes = {rank: tf.range(rank) for rank in range(2, 5)}  # For all, not one each.

    def finite(tensors):
        """Which sums are finite, then which numbers of the vectors, copied into one.

        Where one of a tensor's numbers is not finite, neither is their sum.
        """
        tensors = [tf.cast(tensor, dtype) for tensor in tensors]
        vectors = [tensor for tensor in tensors if tensor.shape.rank == 1]
        others = [tensor for tensor in tensors if tensor.shape.rank != 1]
        sums = [tf.reduce_sum(tensor, axes.get(tensor.shape.rank)) for tensor in others]
        sums = tf.stack([tf.zeros((), dtype), *sums])
        return tf.math.is_finite(tf.concat([sums, *vectors], 0))

    known = [getattr(g, "values", g) for g in gradients if g is not None]
    kept = [i for i, value in enumerate(values) if value.dtype.is_floating]
    old = finite(tf.convert_to_tensor(variables[i].value) for i in kept)
    new = finite(values[i] for i in kept)
    accepted = tf.reduce_all(finite(known)) & tf.reduce_all(new | ~old)
    return tf.where(accepted, tf.zeros((), dtype), tf.constant(float("nan"), dtype))
