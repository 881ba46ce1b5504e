"""Scores of pixel classifiers, and the tables that compare them."""

import json
import pathlib

import numpy as np
import tensorflow as tf

from examples.results.class_results import (
    Confidence,
    Rating,
    aligned,
    closing_lines,
    confusion_matrix,
    shares,
)


def predict_masks(student, dataset, confidence=None):
    """Predicts the class of every pixel, at the masks' size.

    Args:
        student: Keras model, or function, from images to logits `(batch, height,
            width, classes)`, as `classes_at` takes them.
        dataset: Batches of `(images, masks)`.
        confidence: `Confidence` that sees the logits, too. Defaults to `None`.

    Returns:
        int32 array `(images, height, width)`.
    """

    @tf.function(reduce_retracing=True)
    def predict(images, masks):
        logits = tf.image.resize(student(images, training=False), tf.shape(masks)[1:3])
        if confidence is not None:
            confidence.update(masks, logits)
        return classes_of(logits)

    return np.concatenate([predict(*batch).numpy() for batch in dataset])


def masks_of(logits, size):
    """The class of every pixel, from an array of logits resized to the masks' size."""
    parts = np.array_split(logits, max(1, len(logits) // 16))
    return np.concatenate([classes_at(part, size).numpy() for part in parts])


def classes_at(logits, size):
    """The class of every pixel at a size, int32 `(batch, height, width)`.

    Args:
        logits: Tensor `(batch, height, width, classes)`, resized bilinearly; of a
            single one a value above 0 is class 1.
        size: `(height, width)`.
    """
    return classes_of(tf.image.resize(logits, size))


def classes_of(logits):
    """The class of every pixel, of the largest logit or by the sign of a single one."""
    if logits.shape[-1] == 1:
        return tf.cast(logits[..., 0] > 0, tf.int32)
    return tf.argmax(logits, -1, output_type=tf.int32)


def score_masks(predicted, masks, classes, void):
    """Rates predicted masks.

    Args:
        predicted: Integer array of classes.
        masks: Integer array of the same shape, the truth.
        classes: Number of classes.
        void: Label of the pixels that don't count.

    Returns:
        Dict with the `mean_iou` over the classes that occur, the `iou` of each class
        (`None` where it occurs in neither), both intersection over union on all pixels
        together, and the `pixel_accuracy`, all in [0, 1].

    Example:
    >>> truth = np.array([[0, 0, 1, 9]])
    >>> score_masks(np.array([[0, 1, 1, 1]]), truth, classes=3, void=9)["iou"]
    [0.5, 0.5, None]
    """
    known = masks != void
    confusion = confusion_matrix(predicted[known], masks[known], classes)
    right = np.diag(confusion)
    iou = shares(right, confusion.sum(0) + confusion.sum(1) - right)
    return {
        "mean_iou": float(np.mean([value for value in iou if value is not None])),
        "pixel_accuracy": float(right.sum() / max(confusion.sum(), 1)),
        "iou": iou,
    }


def rate(student, dataset, masks, classes, void):
    """Rates a student on a test set.

    Args:
        student: As `predict_masks` takes it.
        dataset: Batches of `(images, masks)`.
        masks: Integer array of all masks.
        classes: Number of classes.
        void: Label of the pixels that don't count.

    Returns:
        `Rating`; its score is that of `score_masks` with the negative log-likelihood
        `nll` of a pixel in nats and the `calibration_error` in [0, 1].
    """
    confidence = Confidence(void)
    predicted = predict_masks(student, dataset, confidence)
    score = score_masks(predicted, masks, classes, void) | confidence.score()
    return Rating(score, predicted, predicted, confidence.bins())


def table(scores):
    """Lays the scores of methods out, a row for each.

    Args:
        scores: Dict from method to its score with `parameters`, `seconds` and, where a
            file was written, its `bytes`.

    Returns:
        String of several lines.
    """
    rows = [
        ("", "mean IoU", "pixel accuracy", "parameters", "LiteRT file", "training"),
        *(
            (
                method,
                f"{100 * score['mean_iou']:.2f} %",
                f"{100 * score['pixel_accuracy']:.2f} %",
                f"{score['parameters']:,}",
                f"{score['bytes']:,} bytes" if "bytes" in score else "none",
                f"{score['seconds']:.0f} s",
            )
            for method, score in scores.items()
        ),
    ]
    return aligned(rows)


def class_table(scores, names):
    """Lays the intersection over union out by class, a column for each method.

    Args:
        scores: Dict from method to its score.
        names: Names of the classes, by label.
    """
    rows = [("IoU, %", *scores)]
    for label, name in enumerate(names):
        values = [score["iou"][label] for score in scores.values()]
        cells = ["-" if value is None else f"{100 * value:.1f}" for value in values]
        rows.append((name, *cells))
    return aligned(rows)


def report(folder):
    """Says in words what a finished run's `result.json` holds.

    Args:
        folder: Path of the run's directory.

    Returns:
        String of several lines.
    """
    folder = pathlib.Path(folder)
    result = json.loads((folder / "result.json").read_text())
    scores = result["scores"]
    lines = [table(scores), "", class_table(scores, result["labels"]), ""]
    if len(scores) > 1:
        plain, name = scores
        gain = scores[name]["mean_iou"] - scores[plain]["mean_iou"]
        lines.append(
            f"{name}: {100 * gain:+.2f} points of mean IoU against {plain}, one seed."
        )
    if "litert" in result:
        litert = result["litert"]
        lines.append(
            f"LiteRT file: {100 * litert['mean_iou']:.2f} % mean IoU; "
            f"{100 * litert['agreeing']:.3f} % of the pixels of {litert['images']:,} "
            "images agree with Keras."
        )
    return "\n".join([*lines, *closing_lines(result, folder)])
