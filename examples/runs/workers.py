"""The strategy of a run, and what its workers must agree on."""

import sys

import tensorflow as tf

from examples.runs.recipe import BATCH_SIZE, STRATEGY
from keras_selfkd.distributed.strategies import strategy_by_name


def open_strategy():
    """Returns the strategy of `--strategy`.

    Raises:
        ValueError: If its workers cannot share the batches evenly, or `TF_CONFIG` is
            wrong.
        ConnectionError: If a worker does not come.
    """
    strategy = strategy_by_name(STRATEGY.value)
    replicas = strategy.num_replicas_in_sync
    if STRATEGY.value == "multi_worker" and BATCH_SIZE.value % replicas:
        raise ValueError(
            f"Expected --batch_size to be a multiple of the {replicas} replicas. "
            f"Received: --batch_size={BATCH_SIZE.value}"
        )
    return strategy


def every_workers(number, strategy):
    """Returns an integer of all workers, by worker; each waits for the others."""
    if STRATEGY.value != "multi_worker":
        return [number]
    local = strategy.run(lambda: tf.constant([number]))
    return strategy.gather(local, axis=0).numpy().tolist()


def check_same_epoch(seen, run, strategy):
    """Ends a worker whose files are not those that the other workers see."""
    epochs_seen = every_workers(seen, strategy)
    if len(set(epochs_seen)) > 1:
        sys.exit(
            "All workers must find the same checkpoints: --run_dir must lie on storage "
            f"that they share. Received: {run.path}, where the workers find epochs "
            f"{epochs_seen}"
        )
