import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_selfkd.export.batches import image_batches, in_batches, whole_batches
from keras_selfkd.export.litert import (
    count_operators,
    describe_input,
    predict_tflite,
    write_tflite,
)

SHAPE = (4, 6, 1)


@pytest.fixture(scope="module")
def model():
    """Doubles its input: outputs that can be checked by hand."""
    layers = [keras.Input(SHAPE), keras.layers.Conv2D(1, 1, use_bias=False)]
    model = keras.Sequential(layers)
    model.set_weights([np.full((1, 1, 1, 1), 2.0)])
    return model


@pytest.fixture(scope="module")
def images():
    return np.linspace(0, 1, 7 * 24, dtype="float32").reshape(7, *SHAPE)


def write(model, path, batch_size=None, **kwargs):
    signature = [tf.TensorSpec((batch_size, *SHAPE), "float32", "images")]
    write_tflite(model, path, signature, **kwargs)
    return path


@pytest.mark.parametrize("batch_size", [None, 1, 3])
def test_predicts_any_number_of_images(model, images, tmp_path, batch_size):
    path = write(model, tmp_path / "model.tflite", batch_size)
    for data in (images, tf.data.Dataset.from_tensor_slices(images).batch(5)):
        outputs = predict_tflite(path, data, batch_size=4)
        np.testing.assert_allclose(outputs, 2 * images, rtol=1e-6)
    assert outputs.dtype == "float32"


@pytest.mark.parametrize("dtype", [None, "uint8", "int8"])
def test_quantises_inputs_and_dequantises_outputs(model, images, tmp_path, dtype):
    path = tmp_path / "model.tflite"
    write(model, path, quantize="int8", images=images, dtype=dtype)
    assert describe_input(path)["dtype"] == (dtype or "float32")
    # One step of 256 over the calibrated range [0, 2].
    np.testing.assert_allclose(predict_tflite(path, images), 2 * images, atol=2 / 255)
    # Values outside of the calibrated range saturate instead of wrapping round.
    beyond = predict_tflite(path, np.full((1, *SHAPE), 5.0, "float32"))
    np.testing.assert_allclose(beyond, 2.0, atol=2 / 255)


def test_takes_images_of_integers_in_the_units_of_the_model(model, tmp_path):
    path = write(model, tmp_path / "model.tflite")
    outputs = predict_tflite(path, np.full((2, *SHAPE), 100, "uint8"))
    np.testing.assert_array_equal(outputs, 200.0)


def test_describes_the_input_and_counts_the_operators(model, images, tmp_path):
    path = write(model, tmp_path / "model.tflite")
    floats = {"dtype": "float32", "scale": 0.0, "zero_point": 0}
    assert describe_input(path) == {"shape": [-1, 4, 6, 1], **floats}
    assert count_operators(path) == {"CONV_2D": 1}
    write(model, path, 1, quantize="int8", images=images)
    assert describe_input(path) == {"shape": [1, 4, 6, 1], **floats}
    assert count_operators(path) == {"QUANTIZE": 1, "CONV_2D": 1, "DEQUANTIZE": 1}


def test_an_operator_that_is_not_built_in_is_named_with_its_layer(tmp_path):
    layer = keras.layers.Lambda(keras.ops.erf, name="error_function")
    model = keras.Sequential([keras.Input(SHAPE), layer])
    message = r"no built-in operator for Erf \(in .*error_function.*\). Replace"
    with pytest.raises(ValueError, match=message):
        write(model, tmp_path / "model.tflite")
    assert not list(tmp_path.iterdir())


def test_other_failures_of_the_converter_pass_through(model, tmp_path):
    signature = [tf.TensorSpec((None, 4, 6, 2), "float32")]
    with pytest.raises(ValueError, match="incompatible"):
        write_tflite(model, tmp_path / "model.tflite", signature)


def test_a_missing_interpreter_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(ImportError, match=r"pip install keras_selfkd\[litert\]"):
        predict_tflite("model.tflite", np.zeros((1, *SHAPE)))


@pytest.mark.parametrize(
    "data",
    [
        np.ones((6, *SHAPE)),
        tf.ones((6, *SHAPE)),
        [np.ones((4, *SHAPE)), np.ones((0, *SHAPE)), np.ones((2, *SHAPE))],
        [(np.ones((6, *SHAPE)), np.zeros(6))],
        [({"image": np.ones((6, *SHAPE)), "index": np.arange(6)}, np.zeros(6))],
        [[np.ones((6, *SHAPE))]],
        ((np.ones((3, *SHAPE), "uint8"), None) for _ in range(2)),
        tf.data.Dataset.from_tensors((tf.ones((6, *SHAPE)), tf.zeros(6))),
        lambda: ([np.ones((2, *SHAPE))] for _ in range(3)),
        lambda: ({"input": np.ones((1, *SHAPE))} for _ in range(6)),
        lambda: np.ones((6, *SHAPE)),
    ],
    ids=[
        *["array", "tensor", "list", "labels", "dict", "lists", "iterator", "dataset"],
        *["function", "function of named inputs", "function of an array"],
    ],
)
def test_reads_images_from(data):
    batches = list(image_batches(data, SHAPE))
    assert all(isinstance(batch, np.ndarray) for batch in batches)
    np.testing.assert_array_equal(np.concatenate(batches), np.ones((6, *SHAPE)))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.ones((2, 6, 4, 1)), r"\('batch', 4, 6, 1\).*shape=\(2, 6, 4, 1\)"),
        ([np.ones(SHAPE)], r"\('batch', 4, 6, 1\).*shape=\(4, 6, 1\)"),
        (np.full((2, *SHAPE), np.nan), "48 values that are NaN or infinite"),
        (np.full((2, *SHAPE), "a"), "dtype=str"),
        (np.ones((2, *SHAPE), "bool"), "dtype=bool"),
        (np.ones((0, *SHAPE)), "at least one image"),
        (iter([]), "at least one image"),
        (lambda: iter([]), "at least one image"),
        (3, "or a function that returns one. Received: 3"),
        ([{"a": 1, "b": 2}], r"under the key 'image'. Received: keys \['a', 'b'\]"),
    ],
    ids=[
        *["shape", "rank", "nan", "text", "bool", "no images", "no batches"],
        *["function of nothing", "number", "keys"],
    ],
)
def test_refuses_images(data, message):
    with pytest.raises(ValueError, match=message):
        list(image_batches(data, SHAPE))


def test_whole_batches_repeat_images_to_fill_the_last():
    batches = [batch.tolist() for batch in whole_batches(np.arange(5), 3)]
    assert batches == [[0, 1, 2], [3, 4, 3]]


def test_in_batches_drops_the_repeated_ones():
    seen = []
    doubled = in_batches(lambda x: seen.append(len(x)) or 2 * x, np.arange(5), 3)
    assert doubled.tolist() == [0, 2, 4, 6, 8]
    assert seen == [3, 3]
