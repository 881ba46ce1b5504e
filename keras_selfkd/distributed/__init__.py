"""Several replicas and machines; the only folder that touches private Keras."""

from keras_selfkd.distributed.cluster import multi_worker_strategy
from keras_selfkd.distributed.layers import synchronize_batch_norm

__all__ = ["multi_worker_strategy", "synchronize_batch_norm"]
