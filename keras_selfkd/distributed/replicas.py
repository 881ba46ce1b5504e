"""One of several replicas in a step: its sums, its part of the batch, its seeds."""

import contextlib
from typing import Any, NamedTuple

import keras
import tensorflow as tf


def replica_count():
    """Number of replicas that share each batch."""
    return tf.distribute.get_strategy().num_replicas_in_sync


def sum_over_replicas(value):
    """The sum of tensors over all replicas; the tensors themselves outside of them."""
    context = tf.distribute.get_replica_context()
    if context is None or replica_count() == 1:
        return value
    return context.all_reduce(tf.distribute.ReduceOp.SUM, value)


class ReplicaBatch(NamedTuple):
    """What a replica computes of a batch.

    Attributes:
        tensors: List of tensors `(examples, ...)`.
        reported: Number of their first examples that this replica reports in
            metrics; all replicas' numbers add up to the batch's.
        copies: Number of replicas that compute the same examples.
        portion: Share of all computed examples that are this replica's, in (0, 1].
    """

    tensors: list
    reported: Any
    copies: Any = 1
    portion: Any = 1.0


def batch_of_replica(tensors):
    """This replica's part of a batch, or all of it where a replica would have none.

    That happens in a last, partial batch. Convolutions and BatchNorm fail on no
    examples; on the whole batch each replica computes what one device would.

    Args:
        tensors: List of this replica's tensors `(examples, ...)`.

    Returns:
        `ReplicaBatch`.
    """
    examples = tf.shape(tensors[0])[0]
    if replica_count() == 1:
        return ReplicaBatch(tensors, examples)
    if tensors[0].shape[0] is not None and not tf.executing_eagerly():
        return ReplicaBatch(tensors, examples, portion=portion_of(examples))
    missing = sum_over_replicas(tf.cast(examples == 0, tf.int32)) > 0
    context = tf.distribute.get_replica_context()
    gathered = context.merge_call(gather_if, args=(missing, *tensors))
    tensors_of_all = tf.cond(missing, lambda: gathered, lambda: tensors)
    if not tf.executing_eagerly():
        for one, tensor in zip(tensors_of_all, tensors, strict=True):
            one.set_shape(tensor.shape)
    first = tf.cast(context.replica_id_in_sync_group == 0, tf.int32)
    reported = tf.where(missing, first * tf.shape(tensors_of_all[0])[0], examples)
    copies = tf.where(missing, replica_count(), 1)
    portion = portion_of(tf.shape(tensors_of_all[0])[0])
    return ReplicaBatch(tensors_of_all, reported, copies, portion)


def gather_if(strategy, condition, *tensors):
    """All replicas' examples together where the condition holds, else none."""

    def all_examples():
        return [strategy.gather(tensor, axis=0) for tensor in tensors]

    def nothing():
        local = [strategy.experimental_local_results(t)[0] for t in tensors]
        return [tensor[:0] for tensor in local]

    local = strategy.experimental_local_results(condition)[0]
    return tf.cond(local, all_examples, nothing)


def portion_of(examples):
    """This replica's examples as a share of those of all replicas."""
    examples = tf.cast(examples, keras.config.floatx())
    return examples / sum_over_replicas(examples)


def in_inference_mode(network, images):
    """`network(images)` in inference mode, also on a replica that has no images."""
    if replica_count() == 1 or tf.distribute.in_cross_replica_context():
        return network(images, training=False)
    examples = tf.shape(images)[0]

    def one():
        return tf.zeros(tf.concat([[1], tf.shape(images)[1:]], 0), images.dtype)

    some = tf.cond(tf.equal(examples, 0), one, lambda: images)
    if not tf.executing_eagerly():
        some.set_shape(images.shape)
    return network(some, training=False)[:examples]


@contextlib.contextmanager
def seeds_of_this_replica(states):
    """Inside, random numbers differ between replicas, the same way in each run.

    Args:
        states: Seed generators' variables, equal on all replicas before and after.
    """
    if replica_count() == 1:
        yield
        return
    replica = tf.distribute.get_replica_context().replica_id_in_sync_group
    # A prime, so that one layer's seed is not another's on the next replica.
    shift = tf.cast(tf.stack([replica * 104_729, 0]), "int64")
    for state in states:
        state.assign(state + tf.cast(shift, state.dtype))
    try:
        yield
    finally:
        for state in states:
            state.assign(state - tf.cast(shift, state.dtype))


def places_in_batch(examples, copies=1):
    """Where this replica's examples stand in the batch of all: int64 `(examples,)`.

    Args:
        examples: Scalar, the number of this replica's examples.
        copies: Number of replicas that compute the same examples.
    """
    before = 0
    if replica_count() > 1:
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        counts = tf.one_hot(replica, replica_count(), dtype=tf.int32) * examples
        earlier = sum_over_replicas(counts)[:replica]
        before = tf.where(copies > 1, 0, tf.reduce_sum(earlier))
    return tf.cast(tf.range(examples) + before, tf.int64)


def write_rows(variable, index, rows):
    """Overwrites rows of a variable by those of all replicas, on each of them.

    Args:
        variable: `tf.Variable`, `(count, ...)`, which no replica changes alone.
        index: int64 tensor `(batch,)`, this replica's rows.
        rows: Tensor `(batch, ...)` of the variable's dtype.
    """
    if replica_count() == 1:
        variable.scatter_nd_update(index[:, None], rows)
        return

    def across(strategy, index, rows):
        index = strategy.gather(index, axis=0)
        rows = strategy.gather(rows, axis=0)
        for copy in strategy.experimental_local_results(variable):
            with tf.device(copy.device):
                copy.scatter_nd_update(index[:, None], rows)

    tf.distribute.get_replica_context().merge_call(across, args=(index, rows))
