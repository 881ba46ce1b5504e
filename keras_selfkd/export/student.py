"""Ship the student: LiteRT, SavedModel and ONNX, checked before they are in place."""

import functools
import pathlib

from keras_selfkd.export.arguments import check_calibration, check_file_options
from keras_selfkd.export.deployment import (
    deployed_model,
    input_signature,
    sample_images,
)
from keras_selfkd.export.litert import (
    count_operators,
    describe_input,
    import_litert,
    predict_tflite,
    write_tflite,
)
from keras_selfkd.export.notes import notes
from keras_selfkd.export.onnx import (
    check_onnx,
    count_onnx_operators,
    predict_onnx,
    write_onnx,
)
from keras_selfkd.export.report import ExportReport, decisions, measure
from keras_selfkd.export.saved_model import (
    check_encodable,
    predict_encoded,
    predict_saved_model,
    random_files,
    write_saved_model,
)
from keras_selfkd.files import staging, write_json

CALIBRATION_IMAGES = 256  # TensorFlow advises a few hundred.
CHECKED_IMAGES = 64


def export_student(
    model_or_student,
    path,
    quantize=None,
    representative_data=None,
    input_dtype=None,
    preprocess=None,
    labels=None,
    batch_size=1,
    head=None,
    normalization=None,
    multi_label=False,
):
    """Writes the student as a LiteRT file that runs with built-in operators only.

    A student that was trained under mixed precision is rebuilt in float32. The file is
    written beside `path`, run with the LiteRT interpreter, compared with Keras, and
    only then moved into place: an export that fails leaves nothing behind. A `.json`
    file of the same name says what a device needs to know: labels, normalization, what
    the outputs are, the colours of masks, and shape, dtype and quantization of the
    input.

    Args:
        model_or_student: A `SelfDistillationModel`, a Keras model with one input and
            one output, or the path of a `.keras` file that holds either, or of a run's
            folder with a `student.keras`.
        path: Path of the `.tflite` file; an existing one is replaced.
        quantize: `None` (all float32), `"float16"` (weights), `"dynamic"` (weights
            int8, activations float32), `"int8"` (both int8) or, for students that lose
            accuracy by it, `"int16x8"` (weights int8, activations int16, slow).
            Defaults to `None`.
        representative_data: Images as the file will get them: an array `(images,
            height, width, channels)`, an iterable of batches of images or `(images,
            labels)`, such as a shuffled `tf.data.Dataset`, or a function that returns
            one, such as TensorFlow Lite takes. The first 256 calibrate `"int8"` and
            `"int16x8"`, at least 8, the first 64 serve the check; without them the
            check draws images in [0, 1). Defaults to `None`.
        input_dtype: `"uint8"` or `"int8"` for an `"int8"` file that takes and returns
            integers, `round(value / scale) + zero_point` with the scales of its
            tensors, `None` for one that takes and returns floats. Defaults to `None`.
        preprocess: Layer or model that becomes the first part of the file, for
            instance `keras.layers.Rescaling(1 / 255)`. Defaults to `None`.
        labels: Names of the classes, for the `.json` file. Defaults to `None`.
        batch_size: Number of images of a call, `None` for any. Defaults to 1.
        head: What becomes of the logits: `"softmax"`, probabilities; `"argmax"`,
            int32 classes; `"sigmoid"`, a probability for each logit alone, `(batch, 1)`
            for a single one; all at the size of the images where the student is a pixel
            classifier. Defaults to `None`, the logits as they are.
        normalization: Pair of mean and standard deviation of each channel, in pixel
            values of 0 to 255, by which pixels are normalised before the file gets
            them. Defaults to `None`: it takes the pixels as they are.
        multi_label: Whether several logits are labels that don't exclude each other, as
            after training by `BinaryCrossentropy(from_logits=True)`: the check and the
            `.json` file then take each alone. `head="sigmoid"` says so, too. Defaults
            to `False`.

    Returns:
        An `ExportReport`.

    Raises:
        ValueError: For an argument that doesn't fit, or a layer that LiteRT has no
            built-in operator for.
        RuntimeError: If the file's outputs aren't finite, or not Keras's (float32,
            float16). Of the others less than 80 % agreement is a warning.
        ImportError: If `ai_edge_litert` is missing.

    Example:
    >>> import keras, tempfile
    >>> layers = [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(3)]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     report = export_student(keras.Sequential(layers), f"{folder}/s.tflite")
    >>> report.agreement, report.operators
    (1.0, {'RESHAPE': 1, 'FULLY_CONNECTED': 1})
    """
    path = pathlib.Path(path)
    check_file_options(path, quantize, representative_data, input_dtype)
    import_litert("interpreter")  # If it is missing, say so before a long conversion.
    decide = _decide(head, multi_label)
    model = deployed_model(model_or_student, preprocess, head)
    signature = input_signature(model, batch_size)
    about = notes(model, labels, head, normalization, multi_label)
    samples = sample_images(model, representative_data, CALIBRATION_IMAGES)
    check_calibration(quantize, samples)
    checked = samples[:CHECKED_IMAGES]
    with staging(path) as staged:
        write_tflite(model, staged, signature, quantize, samples, input_dtype)
        outputs = predict_tflite(staged, checked)
        measured = measure(model, checked, outputs, decide, quantize)
        size, operators = staged.stat().st_size, count_operators(staged)
        about["input"] = describe_input(staged)
        # Never the new file beside what was said of an older one.
        path.with_suffix(".json").unlink(missing_ok=True)
    write_json(path.with_suffix(".json"), about)
    return ExportReport(str(path), size, operators, quantize, **measured)


def export_onnx(
    model_or_student,
    path,
    representative_data=None,
    preprocess=None,
    batch_size=None,
    head=None,
    multi_label=False,
):
    """Writes the student as an ONNX file, and runs it with ONNX Runtime.

    It is rebuilt, checked and moved into place as by `export_student`. It takes images
    `(batch, height, width, channels)`, as Keras does.

    Args:
        model_or_student: As for `export_student`.
        path: Path of the `.onnx` file; an existing one is replaced.
        representative_data: As for `export_student`, for the check. Defaults to `None`.
        preprocess: As for `export_student`. Defaults to `None`.
        batch_size: Number of images of a call, `None` for any. Defaults to `None`.
        head: As for `export_student`. Defaults to `None`.
        multi_label: As for `export_student`. Defaults to `False`.

    Returns:
        An `ExportReport`.

    Raises:
        ValueError: For an argument that doesn't fit.
        RuntimeError: If the file's outputs aren't finite, or not Keras's.
        ImportError: If `tf2onnx`, `onnx` or `onnxruntime` is missing.
    """
    path = pathlib.Path(path)
    if path.suffix != ".onnx":
        raise ValueError(f"Expected `path` to end in .onnx. Received: path={path}")
    check_onnx()
    decide = _decide(head, multi_label)
    model = deployed_model(model_or_student, preprocess, head)
    signature = input_signature(model, batch_size)
    samples = sample_images(model, representative_data, CHECKED_IMAGES)
    with staging(path) as staged:
        write_onnx(model, staged, signature)
        measured = measure(model, samples, predict_onnx(staged, samples), decide)
        size, operators = staged.stat().st_size, count_onnx_operators(staged)
    return ExportReport(str(path), size, operators, None, **measured)


def export_saved_model(
    model_or_student,
    path,
    preprocess=None,
    batch_size=None,
    head=None,
    encoded=False,
    representative_data=None,
    multi_label=False,
):
    """Writes the student as a TensorFlow SavedModel whose `serve` takes images.

    It is rebuilt, checked and moved into place as by `export_student`.

    Args:
        model_or_student: As for `export_student`.
        path: Path of the folder; an existing SavedModel is replaced.
        preprocess: As for `export_student`. Defaults to `None`.
        batch_size: Number of images of a call, `None` for any. Defaults to `None`.
        head: As for `export_student`. Defaults to `None`.
        encoded: Whether to add a signature `serve_encoded` that takes a vector of JPEG,
            PNG, BMP or GIF files, as strings of bytes, turns JPEGs as their EXIF data
            say, and resizes what they hold to the size of the input; a classifier gets
            the middle, as much as fits its aspect ratio. For a model that takes pixel
            values of 0 to 255, in 1 or 3 channels. Defaults to `False`.
        representative_data: As for `export_student`, for the check. Defaults to `None`.
        multi_label: As for `export_student`. Defaults to `False`.

    Returns:
        An `ExportReport`.

    Raises:
        ValueError: For an argument that doesn't fit.
        RuntimeError: If the outputs aren't Keras's.
    """
    path = pathlib.Path(path)
    if path.exists() and not (path / "saved_model.pb").exists():
        raise ValueError(
            "Expected `path` to be free or a SavedModel that may be replaced. "
            f"Received: path={path}"
        )
    decide = _decide(head, multi_label)
    model = deployed_model(model_or_student, preprocess, head)
    signature = input_signature(model, batch_size)
    samples = sample_images(model, representative_data, CHECKED_IMAGES)
    if encoded:
        check_encodable(model)
    with staging(path) as staged:
        write_saved_model(model, staged, signature, encoded)
        size_of_calls = batch_size or CHECKED_IMAGES
        outputs = predict_saved_model(staged, samples, size_of_calls)
        measured = measure(model, samples, outputs, decide)
        if encoded:
            pixels, files = random_files(model, batch_size or 2)
            outputs = predict_encoded(staged, files, size_of_calls)
            measure(model, pixels, outputs, decide)
        size = sum(file.stat().st_size for file in staged.rglob("*") if file.is_file())
    return ExportReport(str(path), size, {}, None, **measured)


def _decide(head, multi_label):
    """A function from outputs to what they decide."""
    if multi_label and head not in (None, "sigmoid"):
        raise ValueError(
            "Labels that don't exclude each other have no common probabilities and no "
            'largest one: use `head="sigmoid"`. Received: multi_label=True, '
            f"head={head!r}"
        )
    return functools.partial(decisions, head=head, multi_label=multi_label)
