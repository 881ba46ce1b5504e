"""What is written beside a LiteRT file, for whoever runs it."""

import numpy as np

from keras_selfkd.mask_plots import mask_colors


def notes(model, labels, head, normalization, multi_label):
    """Returns what whoever runs an exported file needs to know of it, checked.

    Args:
        model: Keras model that is exported, with its head.
        labels: As for `export_student`.
        head: As for `export_student`.
        normalization: As for `export_student`.
        multi_label: As for `export_student`.

    Returns:
        Dict of `labels`, `normalization`, what the `output` holds, whether it is that
        of `multi_label` and, for masks, the `colors` of the classes.

    Raises:
        ValueError: If the labels or the normalization don't fit the model.
    """
    channels = model.input_shape[-1]
    logits = model.layers[-1].input if head == "argmax" else model.output
    _check_labels(labels, logits)
    pair = normalization or ([0.0] * channels, [1.0] * channels)
    parts = [np.ravel(values).astype(float).tolist() for values in pair]
    if list(map(len, parts)) != [channels] * 2 or not np.all(np.greater(parts[1], 0)):
        raise ValueError(
            f"Expected `normalization` to be means and deviations of {channels} "
            f"channels. Received: normalization={normalization}"
        )
    return {
        "labels": None if labels is None else [str(name) for name in labels],
        "normalization": dict(zip(("mean", "std"), parts, strict=True)),
        "output": head or "logits",
        "multi_label": (multi_label or head == "sigmoid") and logits.shape[-1] > 1,
        "colors": mask_colors(max(logits.shape[-1], 2)) if _is_mask(logits) else None,
    }


def _is_mask(logits):
    return len(logits.shape) == 4


def _check_labels(labels, logits):
    classes = max(logits.shape[-1], 2)  # One logit decides between two classes.
    if labels is not None and len(labels) != classes:
        raise ValueError(
            f"Expected a label for each of the {classes} classes. "
            f"Received: {len(labels)} labels"
        )
