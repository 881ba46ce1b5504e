"""Exports a trained student for servers and edge devices, and rates every file.

  python -m examples.export_student --model=runs/digits-small_resnet-cskd-0

reads a finished run of train_classifier or train_segmenter, and its data anew, and
writes to runs/<name>/export/: LiteRT files (float32, float16 and int8), a SavedModel
that takes images or encoded ones, and an ONNX file; each is run, compared with Keras
and rated on the test images before it stays. All take pixel values of 0 to 255: the
normalization is folded in. model_card.md says what was trained on what and how good it
is, export.json has the same numbers.

  a model of your own that takes pixel values, calibrated on a folder of images:
    python -m examples.export_student --model=student.keras --images=photos
  one that takes normalised ones, as an int8 file that takes bytes:
    python -m examples.export_student --model=student.keras --images=photos
      --mean=123.7,116.3,103.5 --std=58.4,57.1,57.4 --quantize=int8 --input_dtype=uint8
  a .keras file of several labels that an image may have at once:
    python -m examples.export_student --model=student.keras --images=photos
      --head=sigmoid
  files that return probabilities, and how long an image takes:
    python -m examples.export_student --model=runs/x --head=softmax --benchmark

examples/classify_image.py runs the LiteRT files where there is no TensorFlow.
"""

import pathlib
import sys

import numpy as np
from absl import flags

from examples.data import inputs
from examples.results import latency, model_card
from examples.results.class_results import aligned
from examples.runs import training
from examples.students import trained
from keras_selfkd import export_onnx, export_saved_model, export_student
from keras_selfkd.export.head import HEADS
from keras_selfkd.export.litert import (
    CALIBRATED,
    QUANTIZATIONS,
    import_litert,
    predict_tflite,
)
from keras_selfkd.export.onnx import check_onnx, predict_onnx
from keras_selfkd.export.saved_model import predict_saved_model
from keras_selfkd.files import write_json

FORMATS = ("litert", "saved_model", "onnx")
FLOAT32, SAVED_MODEL = "float32", "SavedModel"
_OUTPUTS = {
    "none": "logits",
    "softmax": "probabilities",
    "sigmoid": "a probability of each label",
    "argmax": "classes",
}
_PRECISIONS = [name or FLOAT32 for name in QUANTIZATIONS]


def _choices(name, default, allowed, text):
    """Defines a flag that is a list of some of what is allowed."""
    choices = f"some of {','.join(allowed)}"
    holder = flags.DEFINE_list(name, list(default), f"{text}: {choices}.")
    flags.register_validator(
        name, lambda given: set(given) <= set(allowed), f"Expected {choices}"
    )
    return holder


_MODEL = flags.DEFINE_string("model", None, "A run's directory, or a .keras file.")
_OUTPUT = flags.DEFINE_string(
    "output", None, "Directory of what is written; by default export/ beside the model."
)
_FORMATS = _choices("formats", FORMATS, FORMATS, "What to write")
_QUANTIZE = _choices(
    "quantize", [FLOAT32, "float16", "int8"], _PRECISIONS, "Precisions of LiteRT files"
)
_INPUT_DTYPE = flags.DEFINE_enum(
    "input_dtype", None, ["uint8", "int8"], "int8 files take and return these integers."
)
_HEAD = flags.DEFINE_enum(
    "head", "none", [head or "none" for head in HEADS], "What becomes of the logits."
)
_MULTI_LABEL = flags.DEFINE_bool(
    "multi_label", False, "For a .keras file: its labels don't exclude each other."
)
_IMAGES = flags.DEFINE_string(
    "images", None, "For a .keras file: folder of images to calibrate and check with."
)
_MEAN = flags.DEFINE_list("mean", None, "For a .keras file: mean pixel it subtracts.")
_STD = flags.DEFINE_list("std", None, "For a .keras file: deviation it divides by.")
_TEST_IMAGES = flags.DEFINE_integer(
    "test_images", 10_000, "First test images to rate files on.", lower_bound=1
)
_BENCHMARK = flags.DEFINE_bool(
    "benchmark", False, "Time one image in every LiteRT and ONNX file."
)
_DATA_LICENSE = flags.DEFINE_string(
    "data_license", None, "Licence of the data, for the model card."
)
flags.adopt_module_key_flags(inputs)


def check_flags():
    """Refuses flags that would have no effect, and what needs a missing package."""
    of_file = [f.name for f in (_IMAGES, _MEAN, _STD) if f.value is not None]
    if _MODEL.value is None:
        raise ValueError("Expected --model=runs/<name> or --model=student.keras")
    if of_file and pathlib.Path(_MODEL.value).is_dir():
        raise ValueError(
            "A run brings images and normalization of its own. Received: "
            f"--{of_file[0]} beside --model={_MODEL.value}"
        )
    if (_MEAN.value is None) != (_STD.value is None):
        raise ValueError("Expected --mean and --std, or neither of them")
    if _INPUT_DTYPE.value and not {"int8"} & {*_QUANTIZE.value}:
        raise ValueError(
            "Only int8 files take and return integers: add --quantize=int8. Received: "
            f"--input_dtype={_INPUT_DTYPE.value} for {','.join(_QUANTIZE.value)}"
        )
    if "litert" in _FORMATS.value:
        _check_calibration()
        import_litert("interpreter")
    if "onnx" in _FORMATS.value:
        check_onnx()


def _check_calibration():
    """Refuses precisions that need images where there are none."""
    calibrated = [name for name in _QUANTIZE.value if name in CALIBRATED]
    is_alone = pathlib.Path(_MODEL.value).is_file() and _IMAGES.value is None
    if calibrated and is_alone:
        raise ValueError(
            f"{calibrated[0]} files are calibrated on images like those of the "
            "training: add --images=<folder>, or leave them out, as with "
            f"--quantize=float32,float16. Received: --model={_MODEL.value} alone"
        )


def read():
    """Returns the `Trained` that the flags name."""
    path = pathlib.Path(_MODEL.value)
    if path.is_dir():
        source = trained.open_run(path, _TEST_IMAGES.value, sys.argv[1:])
        _check_classes(source)
        return source
    source = trained.open_file(path, _IMAGES.value, inputs.BAD_IMAGES.value)
    if _MEAN.value:
        preprocess = trained.normalization(_MEAN.value, _STD.value)
        source = source._replace(preprocess=preprocess)
    return source


def _check_classes(run):
    """Refuses a probability of each class where all add up to 1."""
    alone = _MULTI_LABEL.value or _HEAD.value == "sigmoid"
    if alone and run.student.output_shape[-1] > 1:
        raise ValueError(
            "A run's classes exclude each other: use --head=softmax. Received: "
            f"--head={_HEAD.value}, --multi_label={_MULTI_LABEL.value}"
        )


def planned(folder):
    """Returns the files to write, as a dict from name to path and precision."""
    files = {}
    for precision in dict.fromkeys(_QUANTIZE.value):
        if "litert" in _FORMATS.value:
            path = folder / f"student-{precision}.tflite"
            files[f"LiteRT, {precision}"] = path, precision
    if "saved_model" in _FORMATS.value:
        files[SAVED_MODEL] = folder / "saved_model", FLOAT32
    if "onnx" in _FORMATS.value:
        files["ONNX"] = folder / "student.onnx", FLOAT32
    return files


def _head():
    return None if _HEAD.value == "none" else _HEAD.value


def write(source, path, precision):
    """Writes one file; returns its `ExportReport`."""
    settings = {
        "preprocess": source.preprocess,
        "head": _head(),
        "multi_label": _MULTI_LABEL.value,
    }
    if path.suffix == ".tflite":
        return export_student(
            source.student,
            path,
            None if precision == FLOAT32 else precision,
            source.calibration,
            _INPUT_DTYPE.value if precision == "int8" else None,
            labels=source.labels,
            **settings,
        )
    if path.suffix == ".onnx":
        return export_onnx(source.student, path, source.calibration, **settings)
    return export_saved_model(
        source.student,
        path,
        encoded=source.student.input_shape[-1] in (1, 3),
        representative_data=source.calibration,
        **settings,
    )


def predict(path, images):
    """Runs a file on an array of images."""
    if path.suffix == ".tflite":
        return predict_tflite(path, images)
    if path.suffix == ".onnx":
        return predict_onnx(path, images)
    return predict_saved_model(path, images, 64)


def export(source, folder):
    """Writes and rates all files.

    Args:
        source: `examples.students.trained.Trained`.
        folder: Path of the directory to write to.

    Returns:
        Dict from a file's name to a dict of what was measured.
    """
    measured = {}
    for name, (path, precision) in planned(folder).items():
        print(f"Writing {path} ...", flush=True)
        report = write(source, path, precision)
        facts = {**report._asdict(), "path": path.name, "precision": precision}
        if source.test is not None:
            facts["score"] = source.score(predict(path, source.test[0]), _head())
        measured[name] = facts
        write_json(folder / "export.json", measured)
    return measured


def time_files(folder, measured):
    """Adds the median and 95th percentile of milliseconds an image, by threads."""
    names = [name for name in measured if name != SAVED_MODEL]
    for threads in (1, 2):
        paths = [folder / measured[name]["path"] for name in names]
        taken = latency.milliseconds([latency.runner(p, threads) for p in paths])
        for name, row in zip(names, taken, strict=True):
            key = f"milliseconds_{threads}_threads"
            measured[name][key] = np.percentile(row, (50, 95)).round(3).tolist()


def main(argv):
    if argv[1:]:
        sys.exit(f"Expected flags only. Received: {' '.join(argv[1:])}")
    try:
        check_flags()
        source = read()
        model = pathlib.Path(_MODEL.value)
        beside = model if model.is_dir() else model.parent
        folder = pathlib.Path(_OUTPUT.value or beside / "export")
        measured = export(source, folder)
    except (ValueError, ImportError, RuntimeError) as error:
        sys.exit(f"export_student: {error}")
    if _BENCHMARK.value:
        time_files(folder, measured)
        write_json(folder / "export.json", measured)
    rows = model_card.rows_of(measured, source.metric)
    model_card.write(
        folder / "model_card.md",
        source,
        rows,
        _OUTPUTS[_HEAD.value],
        _INPUT_DTYPE.value,
        _DATA_LICENSE.value,
    )
    print(
        f"\n{aligned(rows)}\n{model_card.images_of(source)}\n"
        f"{folder}/: model_card.md, export.json and the files"
    )


if __name__ == "__main__":
    training.start(main)
