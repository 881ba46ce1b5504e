"""Strategies by name, and what Keras lacks to train under them.

The only file that touches private parts of Keras.
"""

import contextlib
import warnings

import keras
import tensorflow as tf

from keras_selfkd.cluster import multi_worker_strategy
from keras_selfkd.replicas import replica_count, sum_over_replicas

# The Keras versions whose private hooks `ReplicatedModel` was tested with.
TESTED_KERAS = "3.13 to 3.15"

# What Keras's optimizers do otherwise under tf.distribute.
HOOKS = (
    "_apply_weight_decay",
    "_backend_update_step",
    "_backend_increment_gradient_accumulators",
    "_overwrite_model_variables_with_average_value",
)


def strategy_by_name(name):
    """Returns the `tf.distribute` strategy that a runner's flag names.

    Args:
        name: `"none"` (the default device), `"mirrored"` (all GPUs of this machine,
            or its logical CPU devices) or `"multi_worker"` (`TF_CONFIG` says which).

    Raises:
        ValueError: on any other name.
    """
    strategies = {
        "none": tf.distribute.get_strategy,
        "mirrored": mirrored_strategy,
        "multi_worker": multi_worker_strategy,
    }
    if name not in strategies:
        raise ValueError(
            f"Expected strategy to be one of {sorted(strategies)}. Received: {name!r}"
        )
    return strategies[name]()


def mirrored_strategy():
    kind = "GPU" if tf.config.list_physical_devices("GPU") else "CPU"
    count = len(tf.config.list_logical_devices(kind))
    return tf.distribute.MirroredStrategy([f"{kind}:{i}" for i in range(count)])


def check_strategy(variables):
    """Refuses strategies that cannot train, and variables of another strategy.

    Args:
        variables: List of those of the student and its method.

    Raises:
        ValueError: under ParameterServerStrategy, or where a variable was not built in
            the strategy's scope that the model is built in.
    """
    strategy = tf.distribute.get_strategy()
    if isinstance(strategy, tf.distribute.ParameterServerStrategy):
        raise ValueError(
            "Keras 3 does not support ParameterServerStrategy. Use MirroredStrategy or "
            "MultiWorkerMirroredStrategy."
        )
    if is_multi_worker(strategy) and not has_hooks():
        raise ValueError(
            "MultiWorkerMirroredStrategy needs hooks that this Keras no longer has. "
            f"Install Keras {TESTED_KERAS}. Received: Keras {keras.__version__}"
        )
    plain = (tf.distribute.OneDeviceStrategy, type(None))
    mirrored = strategy if tf.distribute.has_strategy() else None
    for variable in variables:
        own = getattr(variable.value, "distribute_strategy", None)
        if own is not (None if isinstance(mirrored, plain) else strategy):
            raise ValueError(
                "Build the student, its method and the SelfDistillationModel inside "
                "the same `with strategy.scope():`. Received: variable "
                f"{variable.path!r} of {own}, current strategy {strategy}"
            )


def check_compilation(jit_compile):
    """Refuses XLA where it fails, warns where it is slow."""
    if not jit_compile:
        return
    if tf.distribute.has_strategy():
        raise ValueError(
            "XLA does not work under tf.distribute in Keras 3. Compile with "
            "`jit_compile=False`. Received: jit_compile=True"
        )
    if not tf.config.list_physical_devices("GPU"):
        warnings.warn(
            "jit_compile=True is several times slower on a CPU, because XLA has no "
            "fast depthwise convolution there. Compile with `jit_compile=False`.",
            stacklevel=2,
        )


def has_hooks():
    """Whether Keras still has the private parts that several workers need."""
    return (
        hasattr(keras.Model, "_maybe_symbolic_build")
        and replicated_part(keras.optimizers.SGD) is not None
    )


def is_multi_worker(strategy):
    return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)


class ReplicatedModel(keras.Model):
    """A Keras model that also trains under MultiWorkerMirroredStrategy.

    Under a strategy Keras 3 builds from the sum of the replicas' parts of a batch, what
    fails where their sizes differ or workers have them, and it reduces each log along
    its first axis (https://github.com/keras-team/keras/issues/20585). Here it builds
    from the first local part, and logs get an axis: a `train_step` or `test_step`
    returns `worker_logs(logs)`.
    """

    # The nested `tf.TypeSpec`s of the batches of this `fit`, where they are known;
    # under a strategy Keras makes all variables before the step itself.
    _batch_spec = None

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        strategy = self._distribute_strategy
        if strategy is None:
            dataset = getattr(iterator, "_distributed_dataset", None)
            self._batch_spec = getattr(dataset, "element_spec", None)
            return
        if iterator is not None:
            _, _, batches = next(iter(iterator))
            data_batch = next(batches)
        local = tf.nest.map_structure(
            lambda value: strategy.experimental_local_results(value)[0], data_batch
        )
        with strategy.scope():
            self._symbolic_build(data_batch=local)

    def worker_logs(self, logs):
        """Logs in the shape that Keras reduces across workers, else as they are."""
        if not is_multi_worker(self.distribute_strategy):
            return logs
        return {name: tf.reshape(value, (1,)) for name, value in logs.items()}


def sum_of_gradients(gradients, optimizer):
    """All replicas' gradients summed, unless the optimizer does it; `None` stays."""
    if replica_count() == 1 or replicated_part(type(optimizer)) is None:
        return gradients
    known = [gradient for gradient in gradients if gradient is not None]
    summed = iter(sum_over_replicas(known))
    return [None if gradient is None else next(summed) for gradient in gradients]


def synchronize_batch_norm(model):
    """Has a model's BatchNorm layers take their statistics over all replicas.

    By default each replica normalises by its own part of the batch, and a saved
    model holds the moving averages of the first replica. The layers are changed in
    place; weights stay.

    Args:
        model: Keras model, any nesting, before it is trained.

    Returns:
        The model.

    Example:

    >>> import keras
    >>> student = keras.applications.MobileNetV2(weights=None)
    >>> student = synchronize_batch_norm(student)
    >>> student.get_layer("bn_Conv1").synchronized
    True
    """
    for layer in batch_norms(model):
        layer.synchronized = True
    return model


def batch_norms(model):
    """Lists the BatchNorm layers of a model, at any nesting."""
    layers = model._flatten_layers(include_self=False)
    return [
        layer for layer in layers if isinstance(layer, keras.layers.BatchNormalization)
    ]


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
    part = replicated_part(type(optimizer))
    if part is None:
        yield
        return
    own = {name: vars(part)[name] for name in HOOKS}
    # On the class, not the object: subclasses keep what they override, and optimizers
    # inside of others follow.
    for name in HOOKS:
        setattr(part, name, getattr(super(part, part), name))
    try:
        yield
    finally:
        for name in HOOKS:
            setattr(part, name, own[name])


def replicated_part(kind):
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
