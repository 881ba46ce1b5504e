import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_selfkd import export_onnx
from keras_selfkd.export import student as exports
from keras_selfkd.export.onnx import count_onnx_operators, predict_onnx
from tests.export.conftest import SHAPE


@pytest.mark.parametrize("batch_size", [None, 1, 3])
def test_writes_a_file_that_computes_what_keras_does(
    student, images, tmp_path, batch_size
):
    path = tmp_path / "student.onnx"
    report = export_onnx(student, path, images, batch_size=batch_size)
    expected = student.predict(images, verbose=0)
    np.testing.assert_allclose(predict_onnx(path, images), expected, atol=1e-5)
    assert (report.agreement, report.samples) == (1.0, 40)
    assert report.bytes == path.stat().st_size
    assert report.operators == count_onnx_operators(path)
    assert report.operators["Conv"] == 2
    assert [file.name for file in tmp_path.iterdir()] == ["student.onnx"]


@pytest.mark.parametrize("head", ["softmax", "argmax", "sigmoid"])
def test_preprocessing_and_head_are_part_of_the_file(student, images, tmp_path, head):
    path, rescale = tmp_path / "student.onnx", keras.layers.Rescaling(1 / 255)
    export_onnx(student, path, preprocess=rescale, head=head)
    logits = student.predict(images, verbose=0)
    outputs = predict_onnx(path, 255 * images)
    if head == "argmax":
        np.testing.assert_array_equal(outputs, logits.argmax(-1))
    else:
        expected = getattr(keras.activations, head)(logits)
        np.testing.assert_allclose(outputs, expected, atol=1e-5)


@pytest.mark.parametrize("include_preprocessing", [False, True])
def test_scalars_beside_convolutions_are_no_trouble(
    tmp_path, capfd, include_preprocessing
):
    student = keras.applications.MobileNetV3Small(
        weights=None,
        classes=3,
        classifier_activation=None,
        input_shape=(32, 48, 3),
        include_preprocessing=include_preprocessing,
    )
    assert export_onnx(student, tmp_path / "m.onnx").agreement == 1.0
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("nested", [False, True])
def test_normalization_is_part_of_the_file(tmp_path, images, nested):
    adapted = keras.layers.Normalization()
    adapted.adapt(images)
    given = keras.layers.Normalization(mean=1.0, variance=4.0)
    layers = [adapted, given, keras.layers.Flatten(), keras.layers.Dense(2)]
    student = keras.Sequential([keras.Input(SHAPE), *layers])
    if nested:
        student = keras.Sequential([keras.Input(SHAPE), student])
    expected = student.predict(images, verbose=0)
    assert export_onnx(student, tmp_path / "m.onnx", images).agreement == 1.0
    outputs = predict_onnx(tmp_path / "m.onnx", images)
    np.testing.assert_allclose(outputs, expected, atol=1e-5)
    assert tf.is_tensor(adapted.mean)  # As it was.


@keras.saving.register_keras_serializable(package="test_onnx_files")
class Shifted(keras.layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.shift = tf.constant([1.0])

    def call(self, inputs):
        return inputs + self.shift


def test_error_a_tensor_that_is_no_weight(tmp_path):
    inputs = keras.Input(SHAPE)
    student = keras.Model(inputs, keras.layers.Flatten()(Shifted()(inputs)))
    with pytest.raises(ValueError, match="Make it a weight or a NumPy array"):
        export_onnx(student, tmp_path / "student.onnx")
    assert not list(tmp_path.iterdir())


def test_a_model_that_takes_bytes(tmp_path):
    inputs = keras.Input(SHAPE, dtype="uint8")
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(inputs))
    student = keras.Model(inputs, keras.layers.Dense(2)(x))
    export_onnx(student, tmp_path / "m.onnx")
    pixels = np.random.default_rng(0).integers(256, size=(5, *SHAPE))
    expected = student.predict(pixels.astype("uint8"), verbose=0)
    outputs = predict_onnx(tmp_path / "m.onnx", pixels)
    np.testing.assert_allclose(outputs, expected, atol=1e-5)


def test_a_file_that_computes_something_else_is_not_kept(
    student, tmp_path, monkeypatch
):
    monkeypatch.setattr(
        exports, "predict_onnx", lambda *args: 1.01 * predict_onnx(*args)
    )
    with pytest.raises(RuntimeError, match="doesn't compute what Keras does"):
        export_onnx(student, tmp_path / "student.onnx")
    assert not list(tmp_path.iterdir())


@keras.saving.register_keras_serializable(package="test_onnx_files")
class Odd(keras.layers.Layer):
    def call(self, inputs):
        return tf.math.igamma(tf.ones_like(inputs), tf.abs(inputs))


def test_error_operator_that_onnx_has_not(tmp_path):
    inputs = keras.Input(SHAPE)
    student = keras.Model(inputs, keras.layers.Flatten()(Odd(name="odd")(inputs)))
    with pytest.raises(ValueError, match=r"no operator for Igamma \(in .*odd"):
        export_onnx(student, tmp_path / "student.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("where", ["student", "preprocess"])
def test_layers_of_preprocessing_do_not_train(tmp_path, images, where):
    # Both draw or default to training's mode, and hand it on to the normalization.
    random = [keras.layers.RandomFlip(), keras.layers.Resizing(*SHAPE[:2])]
    normalize = keras.layers.BatchNormalization(moving_variance_initializer="zeros")
    layers = [normalize, keras.layers.Flatten(), keras.layers.Dense(2)]
    if where == "student":
        layers, random = [*random, *layers], []
    student = keras.Sequential([keras.Input(SHAPE), *layers])
    preprocess = keras.Sequential(random) if random else None
    export_onnx(student, tmp_path / "m.onnx", images, preprocess)
    expected = student(images, training=False)
    outputs = predict_onnx(tmp_path / "m.onnx", images)
    # Of about 50: float32 has seven digits, whose last depend on the processor.
    np.testing.assert_allclose(outputs, expected, rtol=1e-5)


def test_operators_that_onnx_says_by_others(tmp_path):
    inputs = keras.Input((1, 200, 1))
    x = keras.ops.concatenate(
        [
            keras.activations.gelu(inputs),  # With TensorFlow's Erfc,
            keras.activations.celu(inputs),  # Expm1
            keras.ops.log1p(keras.ops.abs(inputs)),  # and Log1p.
        ],
        axis=-1,
    )
    student = keras.Model(inputs, x)
    values = np.linspace(-6, 6, 200, dtype="float32").reshape(1, 1, 200, 1)
    report = export_onnx(student, tmp_path / "m.onnx", values)
    assert {"Erf", "Exp", "Log"} <= {*report.operators}
    outputs = predict_onnx(tmp_path / "m.onnx", values)
    np.testing.assert_allclose(outputs, student(values), atol=2e-6)


def test_grouped_convolutions(tmp_path):
    # Keras compiles them on CPUs, which ONNX knows nothing of.
    inputs = keras.Input((5, 7, 4))
    student = keras.Model(inputs, keras.layers.Conv2D(4, 3, groups=2)(inputs))
    report = export_onnx(student, tmp_path / "m.onnx")
    assert report.max_difference < 1e-5
    assert report.operators["Conv"] == 1
    assert not tf.config.functions_run_eagerly()


def test_error_path_of_another_kind(student, tmp_path):
    with pytest.raises(ValueError, match=r"end in \.onnx"):
        export_onnx(student, tmp_path / "student.tflite")


@pytest.mark.parametrize("module", ["onnxruntime", "tf2onnx", "onnx"])
def test_error_missing_package(student, tmp_path, monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=r"pip install keras_selfkd\[onnx\]"):
        export_onnx(student, tmp_path / "student.onnx")
    assert not list(tmp_path.iterdir())
