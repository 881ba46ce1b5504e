import numpy as np
import pytest
import tensorflow as tf

from keras_selfkd import ExampleMemory, SelfDistillationModel
from tests import toys
from tests.methods.strangers import Remember


def test_reads_what_was_written():
    memory = ExampleMemory(5, 2, initializer="ones")
    memory.write([4, 1], [[2, 3], [4, 5]])
    np.testing.assert_array_equal(memory.read([1, 0, 4]), [[4, 5], [1, 1], [2, 3]])


def test_keeps_half_the_bytes_where_asked():
    memory = ExampleMemory(2, 1, dtype="float16")
    memory.write([1], [[0.1]])
    assert memory.rows.dtype == "float16"
    assert memory.read([1]).dtype == "float32"
    np.testing.assert_allclose(memory.read([1]), [[0.1]], rtol=1e-3)


@pytest.mark.parametrize("index", [[-1], [5], [2**40]])
def test_error_index_out_of_range(index):
    memory = ExampleMemory(5, 2)
    for use in (memory.read, lambda i: memory.write(i, [[1.0, 2.0]])):
        with pytest.raises(
            tf.errors.InvalidArgumentError, match=r"each index to lie in \[0, 5\)"
        ):
            use(index)


@pytest.mark.parametrize("values", [np.ones((1, 3)), np.ones(1)])
def test_error_values_of_another_width(values):
    with pytest.raises(ValueError, match=r"Expected values of shape \(batch, 2\)"):
        ExampleMemory(5, 2).write([0], values)


def test_survives_serialization():
    memory = ExampleMemory(5, 2, initializer="ones", dtype="float16")
    again = ExampleMemory.from_config(memory.get_config())
    assert (again.examples, again.width, again.rows.dtype) == (5, 2, "float16")
    np.testing.assert_array_equal(again.read([4]), [[1, 1]])


@pytest.mark.parametrize("sizes", [(0, 2), (2, 1.5)])
def test_error_sizes(sizes):
    with pytest.raises(ValueError, match="to be an integer of at least 1"):
        ExampleMemory(*sizes)


def trained(order, labels=None, size=4):
    images, own = toys.class_data(16)
    labels = own if labels is None else labels
    model = SelfDistillationModel(toys.classifier(batch_norm=False), Remember())
    model.compile("sgd", toys.cross_entropy())
    x = {"image": images[order], "index": order}
    model.fit(x, labels[order], batch_size=size, shuffle=False, verbose=0)
    return model


def test_a_step_remembers_its_images():
    model = trained(np.array([3, 7]))
    rows = model.method.memory.rows.numpy()
    assert np.abs(rows[[3, 7]]).min() > 0
    assert not np.delete(rows, [3, 7], axis=0).any()


@pytest.mark.filterwarnings("ignore:.*nan.*")
def test_a_step_that_is_not_finite_is_not_remembered():
    images, labels = toys.class_data(16)
    model = trained(np.arange(4))
    before = model.method.memory.rows.numpy()
    x = {"image": np.full_like(images[4:8], np.nan), "index": np.arange(4, 8)}
    model.train_on_batch(x, labels[4:8])
    np.testing.assert_array_equal(model.method.memory.rows, before)
