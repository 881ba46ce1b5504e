import gc
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# Whether XLA compiles is asked here, not how well.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

import keras
import pytest
import tensorflow as tf

from tests import memory
from tests.processes.workers import run_graphs_as_written

# Two logical devices stand in for two GPUs; only before TensorFlow starts.
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration()] * 2,
)
run_graphs_as_written()


def pytest_collection_modifyitems(items):
    """What takes minutes comes first, so that no process is left alone with it."""
    items.sort(key=lambda item: item.get_closest_marker("minutes") is None)


def pytest_collection_finish():
    """What is imported stays: not to look for garbage there before every test."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def fresh_session():
    """Layer names, seeds and memory that do not depend on the tests that ran before."""
    memory.clear_session()
    keras.utils.set_random_seed(0)


@pytest.fixture(scope="session")
def two_replicas():
    """One strategy for the whole process: several can collide."""
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


@pytest.fixture
def double():
    """Computes in float64, to tell a mistake from rounding."""
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")


@pytest.fixture
def figures(monkeypatch):
    """The figures that were saved, to look into."""
    from matplotlib.figure import Figure  # Not there with the oldest versions.

    saved, savefig = [], Figure.savefig

    def remember(figure, *args, **kwargs):
        saved.append(figure)
        savefig(figure, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", remember)
    return saved
