"""A Keras model that trains on several replicas and machines."""

import keras
import tensorflow as tf

from keras_selfkd.distributed.strategies import is_multi_worker


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
