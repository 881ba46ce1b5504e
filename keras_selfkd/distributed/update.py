"""What a step writes: held back until it is known to be finite on all replicas."""

import contextlib

import keras
import tensorflow as tf

from keras_selfkd.distributed.replicas import replica_count, sum_over_replicas


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


# What Keras's optimizers do otherwise under tf.distribute.
HOOKS = (
    "_apply_weight_decay",
    "_backend_update_step",
    "_backend_increment_gradient_accumulators",
    "_overwrite_model_variables_with_average_value",
)


def sum_of_gradients(gradients, optimizer):
    """All replicas' gradients summed, unless the optimizer does it; `None` stays."""
    if replica_count() == 1 or replicated_parent(type(optimizer)) is None:
        return gradients
    known = [gradient for gradient in gradients if gradient is not None]
    summed = iter(sum_over_replicas(known))
    return [None if gradient is None else next(summed) for gradient in gradients]


def apply_if(condition, apply, args, optimizer):
    """Runs `apply(*args)` on every replica, or on none.

    Args:
        condition: Boolean tensor, equal on all replicas.
        apply: Function that may apply gradients, equal on all replicas, with
            `optimizer`.
        args: Tuple, its arguments.
        optimizer: Keras optimizer.
    """
    if not tf.distribute.has_strategy():
        tf.cond(condition, as_branch(apply, args), as_branch(lambda: None, ()))
        return

    def across(strategy, condition, *args):
        # Counters change on all replicas at once, which a branch inside of a replica
        # could not do; so the branch is taken outside of them.
        local = strategy.experimental_local_results(condition)[0]
        each = strategy.extended.call_for_each_replica
        with updates_of_each_replica(optimizer):
            tf.cond(local, as_branch(each, (apply, args)), as_branch(lambda: None, ()))

    tf.distribute.get_replica_context().merge_call(across, args=(condition, *args))


@contextlib.contextmanager
def updates_of_each_replica(optimizer):
    """Inside, each replica updates its own copy by gradients that are summed already.

    Keras clips and accumulates each replica's gradients and sums them afterwards;
    the sum cannot be part of a branch, so accumulation fails. Its layer for
    tf.distribute is skipped here, and what it does on one device remains.
    """
    parent_class = replicated_parent(type(optimizer))
    if parent_class is None:
        yield
        return
    own = {name: vars(parent_class)[name] for name in HOOKS}
    # On the class, not the object: subclasses keep what they override, and optimizers
    # inside of others follow.
    for name in HOOKS:
        setattr(parent_class, name, getattr(super(parent_class, parent_class), name))
    try:
        yield
    finally:
        for name in HOOKS:
            setattr(parent_class, name, own[name])


def replicated_parent(kind):
    """The parent of an optimizer class that only tf.distribute needs, or `None`."""
    names = {*HOOKS, "_all_reduce_sum_gradients"}
    return next(
        (parent for parent in kind.__mro__ if names <= vars(parent).keys()), None
    )


def as_branch(function, args):
    def branch():
        function(*args)
        return tf.constant(0)

    return branch
