"""Strategies by name, and what Keras lacks to train under them.

The only file that touches private parts of Keras.
"""

import warnings

import keras
import tensorflow as tf

from keras_selfkd.distributed.cluster import multi_worker_strategy
from keras_selfkd.distributed.update import replicated_parent

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
        and replicated_parent(keras.optimizers.SGD) is not None
    )


def is_multi_worker(strategy):
    return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
