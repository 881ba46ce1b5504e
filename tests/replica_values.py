"""What two replicas return."""

import keras
import tensorflow as tf


def local(strategy, value):
    return [v.numpy() for v in strategy.experimental_local_results(value)]


def run(strategy, function, *per_replica):
    """Runs a function on both replicas; each argument is a list of two values."""
    values = [
        strategy.experimental_distribute_values_from_function(
            lambda context, each=each: each[context.replica_id_in_sync_group]
        )
        for each in per_replica
    ]
    results = tf.function(lambda *args: strategy.run(function, args))(*values)
    leaves = [local(strategy, value) for value in keras.tree.flatten(results)]
    return [list(each) for each in zip(*leaves, strict=True)]
