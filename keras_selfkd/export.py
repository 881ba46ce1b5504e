"""Ship the student: LiteRT and SavedModel files, checked before they are in place."""

import json
import os
import pathlib
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from keras_selfkd.deployment import deployed_model, input_signature, sample_images
from keras_selfkd.files import whole
from keras_selfkd.litert import (
    QUANTIZATIONS,
    count_operators,
    describe_input,
    import_litert,
    in_batches,
    predict_tflite,
    write_tflite,
)

CALIBRATION_IMAGES = 256  # TensorFlow advises a few hundred.
CHECKED_IMAGES = 64
TOLERANCE = 1e-3  # Of the largest output. Kernels differ by 1e-6, mistakes by 1e-1.


class ExportReport(NamedTuple):
    """What was written, and how far its outputs lie from Keras's on `samples` images.

    `bytes` is the size of all that was written at `path`; `operators` counts the LiteRT
    operators by name and is empty for a SavedModel. `agreement` is the share, in
    [0, 1], of predictions that are the same.
    """

    path: str
    bytes: int
    operators: dict
    quantize: str | None
    max_difference: float
    mean_difference: float
    agreement: float
    samples: int

    def __str__(self):
        rows = {
            "file": self.path,
            "size": f"{self.bytes:,} bytes",
            "weights": self.quantize or "float32",
            "operators": ", ".join(f"{n} {name}" for name, n in self.operators.items()),
            "difference": f"max {self.max_difference:.2g}, "
            f"mean {self.mean_difference:.2g}",
            "agreement": f"{self.agreement:.1%} of {self.samples} images",
        }
        return "\n".join(f"{name:<10}  {row}" for name, row in rows.items() if row)

    def save(self, path):
        """Writes the report as JSON."""
        _write_json(path, self._asdict())


def export_student(
    model_or_student,
    path,
    quantize=None,
    representative_data=None,
    input_dtype=None,
    preprocess=None,
    labels=None,
    batch_size=1,
):
    """Writes the student as a LiteRT file that runs with built-in operators only.

    A student that was trained under mixed precision is rebuilt in float32. The file is
    written beside `path`, run with the LiteRT interpreter, compared with Keras, and
    only then moved into place: an export that fails leaves nothing behind.

    Args:
        model_or_student: A `SelfDistillationModel`, a Keras model with one input and
            one output, or the path of a `.keras` file that holds either.
        path: Path of the `.tflite` file; an existing one is replaced.
        quantize: `None` (all float32), `"float16"` (weights), `"dynamic"` (weights
            int8, activations float32) or `"int8"` (both int8). Defaults to `None`.
        representative_data: Images as the file will get them: an array `(images,
            height, width, channels)` or an iterable of batches of images or `(images,
            labels)`, such as a shuffled `tf.data.Dataset`. The first 256 calibrate
            `"int8"`, the first 64 serve the check; without them the check draws
            images in [0, 1). Defaults to `None`.
        input_dtype: `"uint8"` or `"int8"` for an `"int8"` file that takes and returns
            integers, `None` for one that takes and returns floats. Defaults to `None`.
        preprocess: Layer or model that becomes the first part of the file, for
            instance `keras.layers.Rescaling(1 / 255)`. Defaults to `None`.
        labels: Names of the classes. They are written to a `.json` file of the same
            name, with the shape and dtype of the input. Defaults to `None`.
        batch_size: Number of images of a call, `None` for any. Defaults to 1.

    Returns:
        An `ExportReport`.

    Raises:
        ValueError: For an argument that doesn't fit, or a layer that LiteRT has no
            built-in operator for.
        RuntimeError: If the file's outputs aren't finite, or not Keras's (float32).
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
    _check_arguments(path, quantize, representative_data, input_dtype)
    import_litert("interpreter")  # If it is missing, say so before a long conversion.
    model = deployed_model(model_or_student, preprocess)
    signature = input_signature(model, batch_size)
    _check_labels(labels, model.output_shape)
    samples = sample_images(model, representative_data, CALIBRATION_IMAGES)
    checked = samples[:CHECKED_IMAGES]
    with whole(path) as staged:
        write_tflite(model, staged, signature, quantize, samples, input_dtype)
        measured = _compare(model, checked, predict_tflite(staged, checked), quantize)
        size, operators = staged.stat().st_size, count_operators(staged)
        if labels is not None:
            about = {"labels": list(labels), "input": describe_input(staged)}
            _write_json(staged.with_suffix(".json"), about)
            os.replace(staged.with_suffix(".json"), path.with_suffix(".json"))
    return ExportReport(str(path), size, operators, quantize, **measured)


def export_saved_model(model_or_student, path, preprocess=None, batch_size=None):
    """Writes the student as a TensorFlow SavedModel whose `serve` takes images.

    It is rebuilt, checked and moved into place as by `export_student`.

    Args:
        model_or_student: As for `export_student`.
        path: Path of the folder; an existing SavedModel is replaced.
        preprocess: As for `export_student`. Defaults to `None`.
        batch_size: Number of images of a call, `None` for any. Defaults to `None`.

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
    model = deployed_model(model_or_student, preprocess)
    signature = input_signature(model, batch_size)
    samples = sample_images(model, None, CHECKED_IMAGES)
    with whole(path) as staged:
        model.export(str(staged), verbose=False, input_signature=signature)
        loaded = tf.saved_model.load(staged)  # It owns the variables that serve reads.
        outputs = in_batches(
            lambda x: loaded.serve(x).numpy(), samples, batch_size or CHECKED_IMAGES
        )
        measured = _compare(model, samples, outputs)
        size = sum(file.stat().st_size for file in staged.rglob("*") if file.is_file())
    return ExportReport(str(path), size, {}, None, **measured)


def _compare(model, images, actual, quantize=None):
    """Measures outputs against Keras's, and refuses unusable ones."""
    expected = in_batches(lambda x: model(x, training=False).numpy(), images, 8)
    for source, outputs in {"Keras": expected, "the exported file": actual}.items():
        if not np.isfinite(outputs).all():
            raise RuntimeError(
                f"Outputs of {source} are NaN or infinite, so the file was not kept. "
                f"Received: quantize={quantize!r}"
            )
    difference = np.abs(actual - expected)
    allowed = TOLERANCE * np.abs(expected).max()
    if quantize is None and difference.max() > allowed:
        raise RuntimeError(
            "The exported file doesn't compute what Keras does, so it was not kept: "
            f"outputs differ by {difference.max():.3g}, {allowed:.3g} is allowed"
        )
    return {
        "max_difference": float(difference.max()),
        "mean_difference": float(difference.mean()),
        "agreement": float(np.mean(_decisions(actual) == _decisions(expected))),
        "samples": len(images),
    }


def _decisions(outputs):
    return outputs.argmax(-1) if outputs.shape[-1] > 1 else outputs > 0


def _check_arguments(path, quantize, representative_data, input_dtype):
    if path.suffix != ".tflite":
        raise ValueError(f"Expected `path` to end in .tflite. Received: path={path}")
    if quantize not in QUANTIZATIONS:
        raise ValueError(
            f"Expected `quantize` to be one of {QUANTIZATIONS}. "
            f"Received: quantize={quantize!r}"
        )
    if quantize == "int8" and representative_data is None:
        raise ValueError(
            "`quantize='int8'` is calibrated on images: pass some of the training "
            "images as `representative_data`. Received: representative_data=None"
        )
    if input_dtype not in (None, "uint8", "int8"):
        raise ValueError(
            "Expected `input_dtype` to be None, 'uint8' or 'int8'. "
            f"Received: input_dtype={input_dtype!r}"
        )
    if input_dtype is not None and quantize != "int8":
        raise ValueError(
            "Only a file with `quantize='int8'` can take and return integers. "
            f"Received: input_dtype={input_dtype!r}, quantize={quantize!r}"
        )


def _check_labels(labels, output_shape):
    classes = max(output_shape[-1], 2)  # One logit decides between two classes.
    if labels is not None and len(labels) != classes:
        raise ValueError(
            f"Expected a label for each of the {classes} classes. "
            f"Received: {len(labels)} labels"
        )


def _write_json(path, content):
    text = json.dumps(content, indent=2) + "\n"
    pathlib.Path(path).write_text(text, encoding="utf-8")
