"""Training on several replicas: strategies by name, and sums that span replicas."""

import keras
import tensorflow as tf

# The Keras versions whose private hooks `ReplicatedModel` was tested with.
TESTED_KERAS = "3.13 to 3.15"


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
        "multi_worker": tf.distribute.MultiWorkerMirroredStrategy,
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


def check_strategy(student):
    """Refuses strategies that cannot train, and a student of another strategy.

    Raises:
        ValueError: under ParameterServerStrategy, or where the student was not built
            in the strategy's scope that the model is built in.
    """
    strategy = tf.distribute.get_strategy()
    if isinstance(strategy, tf.distribute.ParameterServerStrategy):
        raise ValueError(
            "Keras 3 does not support ParameterServerStrategy. Use MirroredStrategy or "
            "MultiWorkerMirroredStrategy."
        )
    if is_multi_worker(strategy) and not hasattr(keras.Model, "_maybe_symbolic_build"):
        raise ValueError(
            "MultiWorkerMirroredStrategy needs hooks that this Keras no longer has. "
            f"Install Keras {TESTED_KERAS}. Received: Keras {keras.__version__}"
        )
    for variable in student.variables:
        own = getattr(variable.value, "distribute_strategy", None)
        if own is not (strategy if tf.distribute.has_strategy() else None):
            raise ValueError(
                "Build the student and the SelfDistillationModel inside the same "
                "`with strategy.scope():`. Received: student variable "
                f"{variable.path!r} of {own}, current strategy {strategy}"
            )


def is_multi_worker(strategy):
    return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)


class ReplicatedModel(keras.Model):
    """A Keras model that also trains under MultiWorkerMirroredStrategy.

    Keras 3 reduces a batch across workers to build from, and each log along its first
    axis; neither works (https://github.com/keras-team/keras/issues/20585). Here it
    builds from this worker's part of the batch, and logs get an axis: a `train_step`
    or `test_step` returns `worker_logs(logs)`.
    """

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        strategy = self.distribute_strategy
        if not is_multi_worker(strategy):
            super()._maybe_symbolic_build(iterator, data_batch)
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


def replica_count():
    """Number of replicas that share each batch."""
    return tf.distribute.get_strategy().num_replicas_in_sync


def sum_over_replicas(value):
    """The sum of a tensor over all replicas; the tensor itself outside of them."""
    context = tf.distribute.get_replica_context()
    if context is None or replica_count() == 1:
        return value
    return context.all_reduce(tf.distribute.ReduceOp.SUM, value)


def either(condition, accept, reject, args):
    """Runs `accept(*args)` or `reject(*args)` on every replica.

    The condition must be equal on all replicas. Where an optimizer must see all
    replicas at once, the branch is taken outside of them, because a branch inside a
    replica may not.
    """
    if not tf.distribute.has_strategy():
        tf.cond(condition, as_branch(accept, args), as_branch(reject, args))
        return

    def across(strategy, condition, *args):
        local = strategy.experimental_local_results(condition)[0]
        each = strategy.extended.call_for_each_replica
        tf.cond(
            local,
            as_branch(each, (accept, args)),
            as_branch(each, (reject, args)),
        )

    tf.distribute.get_replica_context().merge_call(across, args=(condition, *args))


def as_branch(function, args):
    def branch():
        function(*args)
        return tf.constant(0)

    return branch
