"""A worker whose peers never come."""

from keras_selfkd.distributed.cluster import multi_worker_strategy

if __name__ == "__main__":
    multi_worker_strategy(timeout=3)
