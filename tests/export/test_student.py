import json
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_selfkd import FRSKD, SelfDistillationModel
from keras_selfkd.export import student as door
from keras_selfkd.export.deployment import sample_images
from keras_selfkd.export.litert import describe_input, import_litert, predict_tflite
from keras_selfkd.export.report import decisions
from keras_selfkd.export.student import export_saved_model, export_student
from tests.export.conftest import SHAPE, build_student

# Bytes of a weight, by `quantize`.
BYTES = {None: 4, "float16": 2, "dynamic": 1, "int8": 1}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "student.tflite"


@pytest.mark.parametrize(
    ("quantize", "batch_size"),
    [
        (None, 1),
        (None, None),
        (None, 3),
        ("float16", 1),
        ("dynamic", 1),
        ("int8", 1),
        ("int8", None),
        ("int8", 3),
        ("int16x8", 1),
    ],
)
def test_writes_a_file_that_computes_what_keras_does(
    student, images, path, quantize, batch_size
):
    report = export_student(student, path, quantize, images, batch_size=batch_size)
    expected = student.predict(images, verbose=0)
    difference = np.abs(predict_tflite(path, images) - expected)
    assert difference.max() < {None: 1e-5, "float16": 1e-3}.get(quantize, 0.02)
    assert describe_input(path)["shape"] == [batch_size or -1, *SHAPE]
    # What is left of logits around 1 may be their last digit, the processor's own.
    rounding = {"rtol": 1e-3, "atol": 1e-7}
    np.testing.assert_allclose(report.max_difference, difference.max(), **rounding)
    np.testing.assert_allclose(report.mean_difference, difference.mean(), **rounding)
    assert report.agreement >= (1.0 if quantize in (None, "float16") else 0.9)
    assert report.path == str(path)
    assert report.bytes == path.stat().st_size
    assert report.quantize == quantize
    assert report.samples == 40
    assert report.operators["CONV_2D"] == 2
    names = sorted(file.name for file in path.parent.iterdir())
    assert names == ["student.json", "student.tflite"]


def test_quantised_weights_are_smaller(path):
    inputs = keras.Input(SHAPE)
    outputs = keras.layers.Dense(200)(keras.layers.Flatten()(inputs))
    student = keras.Model(inputs, outputs)
    data = np.random.default_rng(0).random((8, *SHAPE))
    for quantize, width in BYTES.items():
        report = export_student(student, path, quantize, data)
        assert report.bytes == pytest.approx(width * student.count_params(), abs=5000)


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_an_int8_file_may_take_and_return_integers(student, images, path, dtype):
    report = export_student(student, path, "int8", images, input_dtype=dtype)
    assert describe_input(path)["dtype"] == dtype
    assert "DEQUANTIZE" not in report.operators
    expected = student.predict(images, verbose=0)
    np.testing.assert_allclose(predict_tflite(path, images), expected, atol=0.02)


def test_an_integer_file_with_rescaling_takes_the_bytes_of_a_camera(student, path):
    pixels = np.arange(40 * 240).reshape(40, *SHAPE) % 256
    rescale = keras.layers.Rescaling(1 / 255)
    export_student(student, path, "int8", pixels, "uint8", preprocess=rescale)
    interpreter = import_litert("interpreter").Interpreter(str(path))
    (entry,) = interpreter.get_input_details()
    assert entry["quantization"] == pytest.approx((1.0, 0), rel=1e-6)
    expected = student.predict(pixels / 255, verbose=0)
    np.testing.assert_allclose(predict_tflite(path, pixels), expected, atol=0.02)


def test_representative_data_may_be_a_dataset_with_labels(student, images, path):
    data = tf.data.Dataset.from_tensor_slices((images, np.zeros(40))).batch(16)
    report = export_student(student, path, "int8", data.repeat())
    assert report.samples == 64


def test_representative_data_may_be_as_tensorflow_lite_wants_it(student, images, path):
    def representative_dataset():
        for image in images:
            yield [image[None]]

    report = export_student(student, path, "int8", representative_dataset)
    assert report.samples == 40
    outputs = predict_tflite(path, representative_dataset)
    expected = student.predict(images, verbose=0)
    np.testing.assert_allclose(outputs, expected, atol=0.02)


def test_a_pixel_student_agrees_pixel_by_pixel(path):
    layers = [keras.Input((8, 10, 3)), keras.layers.Conv2D(4, 3, padding="same")]
    report = export_student(keras.Sequential(layers), path)
    assert report.agreement == 1.0
    assert predict_tflite(path, np.zeros((2, 8, 10, 3))).shape == (2, 8, 10, 4)


def test_one_logit_decides_by_its_sign(student, path):
    outputs = keras.layers.Dense(1, name="logit")(student.output)
    binary = keras.Model(student.inputs, outputs - 1000.0)
    assert export_student(binary, path, labels=["no", "yes"]).agreement == 1.0
    assert decisions(np.array([[-1.0], [2.0]])).tolist() == [
        [False],
        [True],
    ]


@pytest.mark.parametrize("quantize", [None, "int8"])
@pytest.mark.parametrize("head", ["softmax", "argmax", "sigmoid"])
def test_the_head_is_part_of_the_file(student, images, path, quantize, head):
    dtype = "uint8" if quantize else None
    export_student(student, path, quantize, images, dtype, head=head)
    logits = student.predict(images, verbose=0)
    outputs = predict_tflite(path, images)
    if head == "argmax":
        assert outputs.dtype == "int32"
        assert np.mean(outputs == logits.argmax(-1)) >= (0.9 if quantize else 1.0)
    else:
        expected = getattr(keras.activations, head)(logits)
        np.testing.assert_allclose(outputs, expected, atol=0.01 if quantize else 1e-6)
    about = json.loads(path.with_suffix(".json").read_text())
    assert (about["output"], about["multi_label"]) == (head, head == "sigmoid")


@pytest.mark.parametrize("head", ["softmax", "argmax"])
def test_a_head_is_float32_whatever_the_policy(student, images, path, head):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        report = export_student(student, path, head=head)
    finally:
        keras.config.set_dtype_policy("float32")
    assert report.agreement == 1.0
    assert predict_tflite(path, images).dtype in ("float32", "int32")


def test_what_was_said_of_an_older_file_is_gone(student, path, monkeypatch):
    about = path.with_suffix(".json")
    export_student(student, path, labels=np.arange(5), head="softmax")
    assert json.loads(about.read_text())["labels"] == ["0", "1", "2", "3", "4"]

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(door, "write_json", interrupted)
        with pytest.raises(KeyboardInterrupt):
            export_student(student, path)
    assert not about.exists()
    export_student(student, path)
    assert json.loads(about.read_text())["output"] == "logits"


def test_an_integer_input_tells_its_scale(student, images, path):
    export_student(student, path, "int8", images, "uint8")
    about = json.loads(path.with_suffix(".json").read_text())["input"]
    assert (about["dtype"], about["zero_point"]) == ("uint8", 0)
    assert about["scale"] == pytest.approx(images.max() / 255, rel=1e-3)


def test_files_of_classes_are_compared_by_their_classes(student, path, monkeypatch):
    def one_in_four_wrong(path, images):
        return predict_tflite(path, images) + (np.arange(len(images)) % 4 == 0)

    monkeypatch.setattr(door, "predict_tflite", one_in_four_wrong)
    with pytest.raises(RuntimeError, match=r"differ by 0.25, 0.01 is allowed"):
        export_student(student, path, head="argmax")
    with pytest.warns(UserWarning, match=r"decides as Keras does on 75.0% of 64"):
        report = export_student(student, path, "dynamic", head="argmax")
    assert (report.agreement, report.max_difference) == (0.75, 1.0)


def test_a_head_enlarges_masks_to_the_images(path):
    layers = [keras.Input((9, 12, 3)), keras.layers.Conv2D(4, 3, 3)]
    student = keras.Sequential(layers)
    images = np.random.default_rng(0).random((3, 9, 12, 3), "float32")
    export_student(student, path, head="argmax", labels=list("abcd"))
    logits = tf.image.resize(student(images), (9, 12))
    np.testing.assert_array_equal(
        predict_tflite(path, images), logits.numpy().argmax(-1)
    )


@pytest.mark.parametrize("head", ["softmax", "argmax", "sigmoid"])
def test_the_head_of_one_logit_knows_two_classes(student, images, path, head):
    logit = keras.layers.Dense(1, name="logit")(student.output)
    binary = keras.Model(student.inputs, logit)
    export_student(binary, path, head=head, labels=["no", "yes"])
    z = binary.predict(images, verbose=0)[:, 0]
    outputs = predict_tflite(path, images)
    if head == "argmax":
        np.testing.assert_array_equal(outputs, z > 0)
    else:
        yes = 1 / (1 + np.exp(-z))
        expected = np.stack([1 - yes, yes], -1)[:, head == "sigmoid" :]
        np.testing.assert_allclose(outputs, expected, atol=1e-5)
    assert not json.loads(path.with_suffix(".json").read_text())["multi_label"]


@pytest.mark.parametrize("head", [None, "sigmoid"])
@pytest.mark.parametrize("multi_label", [False, True])
def test_labels_that_do_not_exclude_each_other_are_decided_each_alone(
    student, images, path, monkeypatch, head, multi_label
):
    def shy_label_gone(path, images):
        outputs = predict_tflite(path, images)
        outputs[:, 1] -= 3.9 if head is None else 0.49
        return outputs

    # The first label is always there, and likelier than the second, which is, too.
    logits = keras.layers.Dense(2, kernel_initializer="zeros", name="labels")
    labels = keras.Model(student.inputs, logits(student.output))
    logits.bias.assign([9.0, 3.8 if head is None else 0.01])
    monkeypatch.setattr(door, "predict_tflite", shy_label_gone)
    exports = {"head": head, "multi_label": multi_label, "quantize": "dynamic"}
    if head is None and not multi_label:
        assert export_student(labels, path, **exports).agreement == 1.0
    else:
        with pytest.warns(UserWarning, match=r"decides as Keras does on 50.0% of 64"):
            assert export_student(labels, path, **exports).agreement == 0.5
    about = json.loads(path.with_suffix(".json").read_text())
    assert about["multi_label"] == (multi_label or head == "sigmoid")


def test_a_mask_of_one_logit_is_a_probability_of_each_pixel(path):
    student = keras.Sequential([keras.Input((9, 12, 3)), keras.layers.Conv2D(1, 3, 3)])
    images = np.random.default_rng(0).random((3, 9, 12, 3), "float32")
    export_student(student, path, head="sigmoid", labels=["ground", "road"])
    logits = tf.image.resize(student(images), (9, 12)).numpy()
    outputs = predict_tflite(path, images)
    np.testing.assert_allclose(outputs, 1 / (1 + np.exp(-logits)), atol=1e-5)
    about = json.loads(path.with_suffix(".json").read_text())
    # The colours of plot_masks: Okabe and Ito's blue and vermilion.
    assert about["colors"] == ["#0072B2", "#D55E00"]


def test_error_floats_for_a_model_that_takes_bytes(path, images):
    inputs = keras.Input(SHAPE, dtype="uint8")
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(inputs))
    student = keras.Model(inputs, keras.layers.Dense(2)(x))
    with pytest.raises(ValueError, match=r"uint8 holds.*float32 from .* to 0\.99"):
        export_student(student, path, "int8", images)


def test_a_run_folder_stands_for_its_student(student, tmp_path, images):
    student.save(tmp_path / "student.keras")
    export_student(tmp_path, tmp_path / "student.tflite")
    outputs = predict_tflite(tmp_path / "student.tflite", images)
    expected = student.predict(images, verbose=0)
    np.testing.assert_allclose(outputs, expected, atol=1e-5)


def test_a_student_trained_under_mixed_precision_runs_in_float32(images, path):
    keras.config.set_dtype_policy("mixed_float16")
    student = build_student()
    keras.config.set_dtype_policy("float32")
    student.compile("sgd", "mse")
    student.fit(images, np.zeros((40, 5)), verbose=0)
    report = export_student(student, path)
    assert report.max_difference < 1e-5
    plain = build_student()
    plain.set_weights(student.get_weights())
    expected = plain.predict(images, verbose=0)
    np.testing.assert_allclose(predict_tflite(path, images), expected, atol=1e-5)


@pytest.mark.parametrize("quantize", [None, "int8"])
def test_folds_the_preprocessing_into_the_file(student, images, path, quantize):
    pixels = np.round(255 * images)
    rescale = keras.layers.Rescaling(1 / 255)
    export_student(student, path, quantize, pixels, preprocess=rescale)
    expected = student.predict(pixels / 255, verbose=0)
    np.testing.assert_allclose(
        predict_tflite(path, pixels), expected, atol=1e-5 if quantize is None else 0.02
    )


def test_takes_a_keras_file_and_writes_labels_beside(student, tmp_path, images):
    student.save(tmp_path / "trained.keras")
    path = tmp_path / "edge" / "digits.tflite"
    export_student(tmp_path / "trained.keras", path, labels=list("abcde"))
    expected = student.predict(images, verbose=0)
    np.testing.assert_allclose(predict_tflite(path, images), expected, atol=1e-5)
    assert json.loads((tmp_path / "edge" / "digits.json").read_text()) == {
        "labels": ["a", "b", "c", "d", "e"],
        "normalization": {"mean": [0.0], "std": [1.0]},
        "output": "logits",
        "multi_label": False,
        "colors": None,
        "input": {
            "shape": [1, *SHAPE],
            "dtype": "float32",
            "scale": 0.0,
            "zero_point": 0,
        },
    }


@pytest.mark.parametrize("saved", [False, True])
def test_only_the_student_of_a_self_distilled_model_is_in_the_file(
    tmp_path, images, saved
):
    student = build_student()
    model = SelfDistillationModel(student, FRSKD(channels=2))
    plain = export_student(student, tmp_path / "plain.tflite")
    if saved:
        model.save(tmp_path / "model.keras")
    source = tmp_path / "model.keras" if saved else model
    report = export_student(source, tmp_path / "distilled.tflite")
    assert report.operators == plain.operators
    assert report.bytes == pytest.approx(plain.bytes, rel=0.01)
    expected = student.predict(images, verbose=0)
    outputs = predict_tflite(tmp_path / "distilled.tflite", images)
    np.testing.assert_allclose(outputs, expected, atol=1e-5)


def test_a_student_trained_on_several_replicas_runs_on_one(two_replicas, images, path):
    with two_replicas.scope():
        student = build_student()
        student.compile("sgd", "mse")
    student.fit(images, np.zeros((40, 5)), batch_size=20, verbose=0)
    assert export_student(student, path).agreement == 1.0
    assert export_saved_model(student, path.with_name("folder")).agreement == 1.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"path": "student.onnx"}, r"end in .tflite. Received: path=student.onnx"),
        ({"quantize": "int4"}, r"'float16', 'dynamic', 'int8'.*quantize='int4'"),
        ({"quantize": "int8"}, "pass some of the training images"),
        ({"quantize": "int16x8"}, "'int16x8'. is calibrated on images"),
        ({"input_dtype": "uint8"}, "Only a file with `quantize='int8'`"),
        ({"input_dtype": "int16"}, "input_dtype='int16'"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"labels": ["a"]}, "each of the 5 classes. Received: 1 labels"),
        ({"representative_data": np.ones((2, 20, 12, 1))}, r"shape=\(2, 20, 12, 1\)"),
        ({"representative_data": np.full((2, *SHAPE), np.nan)}, "480 values"),
        ({"representative_data": []}, "at least one image"),
        (
            {
                "quantize": "int8",
                "representative_data": np.eye(12, 20)[None, ..., None],
            },
            "at least 8 images.*representative_data of 1 images",
        ),
        ({"head": "tanh"}, "'softmax', 'argmax', 'sigmoid'.*tanh"),
        ({"head": "softmax", "multi_label": True}, 'use `head="sigmoid"`'),
        ({"head": "argmax", "labels": ["a"]}, "each of the 5 classes"),
        ({"normalization": ([0.0, 0.0], [1.0, 1.0])}, "deviations of 1 channels"),
        ({"normalization": ([0.0], [0.0])}, "means and deviations"),
        ({"normalization": ([0.0],)}, "means and deviations"),
    ],
)
def test_refuses_before_it_converts(student, tmp_path, monkeypatch, arguments, message):
    monkeypatch.setattr(door, "write_tflite", None)
    arguments = {"path": "student.tflite"} | arguments
    path = tmp_path / arguments.pop("path")
    with pytest.raises(ValueError, match=message.replace("path=", ".*")):
        export_student(student, path, **arguments)
    assert not list(tmp_path.iterdir())


def test_a_missing_interpreter_is_noticed_first(student, path, monkeypatch):
    monkeypatch.setattr(door, "write_tflite", None)
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(ImportError, match=r"pip install keras_selfkd\[litert\]"):
        export_student(student, path)


def test_a_file_that_computes_something_else_is_not_kept(student, path, monkeypatch):
    path.write_text("the last good one")
    path.with_suffix(".json").write_text("its labels")

    def wrong(path, images):
        return 1.01 * predict_tflite(path, images)

    monkeypatch.setattr(door, "predict_tflite", wrong)
    largest = np.abs(student.predict(sample_images(student, None, 64), verbose=0)).max()
    message = f"differ by {0.01 * largest:.3g}, {0.001 * largest:.3g} is allowed"
    with pytest.raises(RuntimeError, match=message):
        export_student(student, path, labels=list("abcde"))
    assert path.read_text() == "the last good one"
    assert path.with_suffix(".json").read_text() == "its labels"
    assert len(list(path.parent.iterdir())) == 2


def test_a_student_whose_outputs_are_not_finite_is_refused(path):
    student = build_student()
    student.layers[-1].bias.assign(np.full(5, np.nan))
    with pytest.raises(RuntimeError, match="Outputs of Keras are NaN or infinite"):
        export_student(student, path)
    assert not list(path.parent.iterdir())


def test_a_quantised_file_must_be_finite_but_not_equal(student, path, monkeypatch):
    def negative(path, images):
        return -predict_tflite(path, images)

    monkeypatch.setattr(door, "predict_tflite", negative)
    with pytest.warns(UserWarning, match="Calibrate it on more images"):
        assert export_student(student, path, "dynamic").max_difference > 0.1
    with pytest.raises(RuntimeError, match="doesn't compute what Keras does"):
        export_student(student, path, "float16")
    monkeypatch.setattr(door, "predict_tflite", lambda *_: np.full((64, 5), np.inf))
    with pytest.raises(RuntimeError, match="Outputs of the exported file are NaN"):
        export_student(student, path, "float16")


def test_an_operator_that_is_not_built_in_is_refused(student, path):
    outputs = keras.layers.Lambda(keras.ops.erf, name="bell")(student.output)
    with pytest.raises(ValueError, match=r"no built-in operator for Erf \(in .*bell"):
        export_student(keras.Model(student.inputs, outputs), path)
    assert not list(path.parent.iterdir())
