"""Scores of trained students, and the table that compares them."""

import importlib.metadata
import json
import pathlib
import platform
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from tabulate import tabulate

import keras_selfkd
from keras_selfkd.metrics import ExpectedCalibrationError, confidence_interval

_COLUMNS = (
    "",
    "test accuracy",
    "95 % interval",
    "ECE",
    "parameters",
    "LiteRT file",
    "training",
)

_FEW_IMAGES = 100  # Whose accuracy has an interval of 10 points to each side.
_TOO_FEW = "too few test images to tell (--test_share); "
_CAUSES = (
    "too few training images or steps (--epochs); test images of other pixels, colours "
    "or cut than the training images; test labels of another order or meaning; in a "
    "script of your own, averages of BatchNorm that lag behind the weights "
    "(keras_selfkd.recalibrate_batch_norm sets them anew)."
)


def accuracy(logits, labels):
    """Returns the share of images, in [0, 1], whose largest logit is their label's."""
    return float(np.mean(np.argmax(logits, -1) == labels))


class Rating(NamedTuple):
    """What a student's predictions for a test set are worth.

    Attributes:
        score: Dict from name to number, or list of numbers.
        predicted: Array of what was predicted: logits, or masks.
        classes: Integer array of the predicted classes, of the truth's shape.
        bins: Dict of arrays `(bins,)`: `weight`, `confidence` and `correct`, the sums
            of a reliability diagram.
    """

    score: dict
    predicted: np.ndarray
    classes: np.ndarray
    bins: dict


def rate(logits, labels):
    """Rates the logits of a test set.

    Args:
        logits: Array `(images, classes)`.
        labels: Integer array `(images,)`.

    Returns:
        `Rating`; its score is a dict with `accuracy`, its 95 % `interval`, the accuracy
        of each class, `class_accuracy` (`None` without an image of it), and
        `calibration_error`, all in [0, 1], the negative log-likelihood `nll` in nats,
        and the number of `images`.
    """
    confidence = Confidence()
    confidence.update(labels, logits)
    predicted, classes = np.argmax(logits, -1), logits.shape[-1]
    right = labels[predicted == labels]
    of_classes = (np.bincount(some, minlength=classes) for some in (right, labels))
    correct = len(right)
    score = {
        "accuracy": correct / len(labels),
        "interval": [float(end) for end in confidence_interval(correct, len(labels))],
        "class_accuracy": shares(*of_classes),
        **confidence.score(),
        "images": len(labels),
    }
    return Rating(score, logits, predicted, confidence.bins())


def shares(parts, wholes):
    """Returns the list of quotients, `None` where the whole is 0."""
    pairs = zip(parts, wholes, strict=True)
    return [float(part / whole) if whole else None for part, whole in pairs]


class Confidence:
    """How sure predictions are, and how right that is, over batches of logits.

    Args:
        void: Label of the pixels that don't count. Defaults to `None`.
    """

    def __init__(self, void=None):
        self._calibration = ExpectedCalibrationError(ignore_class=void)
        self._nll = keras.metrics.Mean()
        self._void = void

    def update(self, labels, logits):
        """Adds a batch; a single logit is that of class 1."""
        if logits.shape[-1] == 1:
            logits = tf.concat([tf.zeros_like(logits), logits], -1)
        self._calibration.update_state(labels, logits)
        counts = tf.not_equal(labels, -1 if self._void is None else self._void)
        labels = tf.where(counts, labels, 0)
        nll = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        self._nll.update_state(nll, sample_weight=counts)

    def score(self):
        """Returns a dict of `nll` and `calibration_error`."""
        error = float(self._calibration.result())
        return {"nll": float(self._nll.result()), "calibration_error": error}

    def bins(self):
        """Returns the bins of a reliability diagram, as `Rating` has them."""
        sums = self._calibration.variables
        return dict(zip(("weight", "confidence", "correct"), sums, strict=True))


def confusion_matrix(predicted, truth, classes):
    """How often which class was taken for which.

    Args:
        predicted: Integer array of classes.
        truth: Integer array of the same shape, all below `classes`.
        classes: Number of classes.

    Returns:
        Integer array `(classes, classes)`, a row for each true class.

    Example:
    >>> confusion_matrix(np.array([0, 1, 1]), np.array([0, 0, 1]), classes=2)
    array([[1, 1],
           [0, 1]])
    """
    pairs = classes * truth.ravel() + predicted.ravel()
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def check_same_size(scores):
    """Refuses students that would not cost the same to deploy.

    Args:
        scores: Dict from method to its score with `parameters` and, where a file was
            written, its `bytes`.

    Raises:
        RuntimeError: If they differ: something of a method stayed in its student.
    """
    for what, tolerance in (("parameters", 0.0), ("bytes", 0.01)):
        sizes = {method: score.get(what) or 0 for method, score in scores.items()}
        # LiteRT stores equal constants once, so that files differ by a few bytes.
        if max(sizes.values()) - min(sizes.values()) > tolerance * max(sizes.values()):
            raise RuntimeError(
                "Expected every method to deploy a student of the same size. "
                f"Received: {what}={sizes}"
            )


def table(scores):
    """Lays the scores out, a row for each method.

    Args:
        scores: Dict from method to its score with `parameters`, `seconds` and, where a
            file was written, its `bytes`.

    Returns:
        String of several lines.

    Example:
    >>> plain = {"accuracy": 0.5, "interval": [0.4, 0.6], "calibration_error": 0.1}
    >>> print(table({"plain": plain | {"parameters": 1000, "seconds": 9.2}}))
           test accuracy  95 % interval     ECE  parameters  ...
    plain        50.00 %  40.0 - 60.0 %  0.1000       1,000  ...
    """
    rows = [_COLUMNS, *(_cells(method, score) for method, score in scores.items())]
    return aligned(rows)


def aligned(rows):
    """Returns lines of right-aligned columns, from rows of strings."""
    # Cells are texts already: numbers stay as they are written.
    return tabulate(rows, tablefmt="plain", stralign="right", disable_numparse=True)


def _cells(method, score):
    return (
        method,
        f"{100 * score['accuracy']:.2f} %",
        _interval(score),
        f"{score['calibration_error']:.4f}",
        f"{score['parameters']:,}",
        f"{score['bytes']:,} bytes" if "bytes" in score else "none",
        f"{score['seconds']:.0f} s",
    )


def _interval(score):
    low, high = score["interval"]
    return f"{100 * low:.1f} - {100 * high:.1f} %"


def verdict(scores):
    """Says what a method gained, and whether the test set is large enough to tell.

    Args:
        scores: Dict from method to its score, the baseline first.

    Returns:
        String of one line.
    """
    (plain_name, plain), (name, score) = scores.items()
    gain = f"{name}: {100 * (score['accuracy'] - plain['accuracy']):+.2f} points"
    low, high = plain["interval"]
    if low <= score["accuracy"] <= high:
        return (
            f"{gain}, inside the 95 % interval of {plain_name}: too little to tell "
            f"them apart on {score['images']:,} images."
        )
    return f"{gain}, outside the 95 % interval of {plain_name}."


def at_chance(scores, trained, labels):
    """Names the methods that learned, but whose students know nothing of test images.

    That is, their test accuracy cannot be told from naming the commonest class always,
    at 95 %, and their training accuracy can.

    Args:
        scores: Dict from method to its score.
        trained: Dict from method to its last training accuracy, in [0, 1].
        labels: Integer array, the test set's labels.

    Returns:
        List of sentences.
    """
    chance = np.bincount(labels).max() / len(labels)
    return [
        f"{method} learned its training images (accuracy {100 * trained[method]:.1f} %)"
        f", but on {score['images']:,} test images its "
        f"{100 * score['accuracy']:.1f} % (95 % interval {_interval(score)}) is not "
        f"surely better than naming one class always ({100 * chance:.1f} %). Likely "
        "causes: "
        f"{_TOO_FEW if score['images'] < _FEW_IMAGES else ''}{_CAUSES}"
        for method, score in scores.items()
        if score["interval"][0] <= chance and trained[method] > score["interval"][1]
    ]


def versions():
    """Returns the versions of Python and of what results depend on, as a dict."""
    found = importlib.metadata.distributions()
    installed = {package.name: package.version for package in found}
    others = ["numpy", "tensorflow-datasets", "keras-hub", "keras-cv", "ai-edge-litert"]
    return {
        "python": platform.python_version(),
        "keras_selfkd": keras_selfkd.__version__,
        "keras": keras.__version__,
        "tensorflow": tf.__version__,
        **{name: installed[name] for name in others if name in installed},
    }


def facts(data, student, run):
    """Returns what every result says about a run, as a dict.

    Args:
        data: `examples.data.prepared.Data`.
        student: Name of the student.
        run: `examples.runs.run.Run`.
    """
    return {
        "note": run.note,
        "dataset": data.name,
        "images": data.examples,
        "student": student,
        "labels": list(data.label_names),
        "mean": data.mean.tolist(),
        "std": data.std.tolist(),
        "versions": versions(),
    }


def report(folder):
    """Says in words what a finished run's `result.json` holds.

    Args:
        folder: Path of the run's directory.

    Returns:
        String of several lines.
    """
    folder = pathlib.Path(folder)
    result = json.loads((folder / "result.json").read_text())
    lines = [table(result["scores"])]
    if len(result["scores"]) > 1:
        lines.append(verdict(result["scores"]))
    if "litert" in result:
        litert = result["litert"]
        lines.append(
            f"LiteRT file: {100 * litert['accuracy']:.2f} % test accuracy; "
            f"{litert['agreeing']:,} of {litert['images']:,} predictions agree with "
            "Keras."
        )
    lines += result.get("at_chance", [])
    return "\n".join([*lines, *closing_lines(result, folder)])


def closing_lines(result, folder):
    """Returns the last lines of every report: what the run was, and its files."""
    note, files = result["note"], sorted(entry.name for entry in folder.iterdir())
    lines = [f"{note}: this shows that it runs, not how well."] if note else []
    return [*lines, f"{folder}/: {', '.join(files)}"]
