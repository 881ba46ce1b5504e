"""What an export starts from: a run's student and data, or a file and images."""

import json
import pathlib
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from absl import flags

from examples import train_classifier, train_segmenter
from examples.data import inputs
from examples.data.image_files import find_images
from examples.results import class_results, mask_results
from keras_selfkd.export.deployment import find_student, load_file, single_input
from keras_selfkd.export.saved_model import file_reader
from keras_selfkd.export.student import CALIBRATION_IMAGES


class Trained(NamedTuple):
    """A trained student, with images as the exported files will get them.

    Attributes:
        student: Keras model.
        preprocess: Layer from pixel values of 0 to 255 to what the student takes, or
            `None` where it takes these.
        labels: List of the classes' names, or `None`.
        calibration: Array of images to calibrate with, or `None`.
        test: Pair of arrays: images and their labels or masks, or `None`.
        void: For masks, the label that does not count; `None` for classes.
        result: Dict of a run's `result.json`, empty without a run.
        recipe: List of the run's flags.
    """

    student: Any
    preprocess: Any = None
    labels: Any = None
    calibration: Any = None
    test: Any = None
    void: Any = None
    result: Any = {}  # noqa: RUF012 (never changed)
    recipe: Any = ()

    @property
    def metric(self):
        """Name of what `score` returns."""
        return "accuracy" if self.void is None else "mean IoU"

    def score(self, outputs, head=None):
        """Rates what a file says of the test images, in [0, 1]; `None` without any."""
        if self.test is None:
            return None
        _, truth = self.test
        if outputs.dtype.kind == "f" and outputs.shape[-1] == 1:
            # One logit, or its probability, decides between two classes.
            threshold = np.full_like(outputs, 0.5 if head == "sigmoid" else 0.0)
            outputs = np.concatenate([threshold, outputs], -1)
        if self.void is None:
            if outputs.dtype.kind in "iu":
                return float(np.mean(outputs == truth))
            return class_results.accuracy(outputs, truth)
        if outputs.ndim == 4:
            outputs = mask_results.masks_of(outputs, truth.shape[1:3])
        classes = len(self.labels)
        return mask_results.score_masks(outputs, truth, classes, self.void)["mean_iou"]


def open_run(path, test_images, overrides=()):
    """Reads a finished run of a runner, and its data anew.

    Args:
        path: Path of the run's directory.
        test_images: Number of test images to keep.
        overrides: Flags that come after the run's own: data may have moved. Defaults
            to none.

    Returns:
        `Trained`.

    Raises:
        ValueError: If the run is not finished, or its data are not there.
    """
    path = pathlib.Path(path)
    if not (path / "result.json").exists():
        raise ValueError(
            "Expected a finished run, which holds a result.json, or a .keras file. "
            f"Received: --model={path}. Finish a run with --resume."
        )
    try:
        result = json.loads((path / "result.json").read_text())
        flags.FLAGS(["export", f"--flagfile={path / 'flags.cfg'}", *overrides])
    except (ValueError, flags.Error) as error:
        raise ValueError(
            f"Expected a run of this version in --model={path}. Its result.json or "
            f"flags.cfg cannot be read: {error}"
        ) from error
    runner = train_segmenter if "void" in result else train_classifier
    data = _data_of(path, runner)
    if list(data.label_names) != result["labels"]:
        raise ValueError(
            f"The data have other classes than when {path} was trained: "
            f"{data.label_names}, not {result['labels']}. Name the data of the run "
            "with --data_dir."
        )
    student = load_file(path / "student.keras", "--model")
    recipe = (path / "flags.cfg").read_text().split("\n")
    # The student's own normalization, whatever the data are now.
    preprocess = normalization(result["mean"], result["std"])
    found = from_data(student, data, test_images)
    return found._replace(preprocess=preprocess, result=result, recipe=recipe)


def _data_of(path, runner):
    """Reads the data of a run, whose flags may name them as seen from elsewhere."""
    try:
        return runner.load()
    except (ValueError, OSError) as error:
        folder = inputs.DATA_DIR.value
        seen = f" --data_dir={folder}, seen from {pathlib.Path.cwd()}" if folder else ""
        raise ValueError(
            f"The data that {path} was trained on cannot be read:{seen} ({error}). "
            "Say where they are now with --data_dir, or export "
            f"--model={path / 'student.keras'}, which needs no data."
        ) from error


def from_data(student, data, test_images):
    """Sets a student up with the images of the data that it was trained on.

    Args:
        student: Keras model that takes the data's normalised images.
        data: `examples.data.prepared.Data`.
        test_images: Number of test images to keep.

    Returns:
        `Trained`, without a result.
    """
    mean, std = data.mean, data.std

    def pixels(dataset, count):
        dataset = dataset.map(lambda x, y: (tf.round(x * std + mean), y))
        batches = list(dataset.unbatch().take(count).batch(256).as_numpy_iterator())
        images, labels = (np.concatenate(part) for part in zip(*batches, strict=True))
        return images.astype("uint8"), labels

    return Trained(
        student,
        normalization(mean, std),
        data.label_names,
        pixels(data.train(), CALIBRATION_IMAGES)[0],
        pixels(data.test, test_images),
        data.void,
    )


def normalization(mean, std):
    """A layer that subtracts the mean pixel and divides by the deviation."""
    mean, std = np.array(mean, "float64"), np.array(std, "float64")
    return keras.layers.Rescaling((1 / std).tolist(), (-mean / std).tolist())


def open_file(path, images, bad_images):
    """Reads a student from a `.keras` file, and images from a folder.

    Args:
        path: Path of the file.
        images: Path of a folder of images, or `None`.
        bad_images: What to do with files there that are none, as for `find_images`.

    Returns:
        `Trained`, of a student that takes pixel values of 0 to 255.
    """
    student = find_student(load_file(path, "--model"))
    shape = tuple(single_input(student).shape[1:])
    if images is None:
        return Trained(student)
    if len(shape) != 3 or shape[2] not in (1, 3):
        raise ValueError(
            "Expected --images for a model that takes images of 1 or 3 channels. "
            f"Received: --model={path}, which takes {shape}"
        )
    (files,) = find_images([images], bad_images)
    chosen = np.random.default_rng(0).permutation(len(files))[:CALIBRATION_IMAGES]
    read = file_reader(shape, crop=len(student.output_shape) == 2)
    pixels = [read(tf.io.read_file(str(files[i]))) for i in chosen]
    return Trained(student, calibration=np.round(np.stack(pixels)))
