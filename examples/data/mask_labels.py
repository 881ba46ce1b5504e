"""What the numbers in masks mean: classes, and pixels that belong to none."""

import numpy as np

UNLABELLED = 255


def number_classes(
    masks, label_names=None, mask_values=None, label_offset=0, void=None
):
    """Turns what masks hold into labels, the numbers of the classes from 0 on.

    Args:
        masks: Dict from split to an integer array; the classes are those of `"train"`.
        label_names: Names of the classes. Defaults to `None`: `mask_values`, or numbers
            up to the largest label.
        mask_values: Values of the classes in masks, by label, such as `[0, 255]`.
            Defaults to `None`: the values are the labels.
        label_offset: Added to each value; below 0 it is void. Defaults to `0`.
        void: Value (after the offset) of pixels that belong to no class, or `"none"`
            where all do. Defaults to `None`, 255, or none beside `mask_values`.

    Returns:
        Dict from split to labels, the list of the classes' names, and the label of void
        pixels.

    Raises:
        ValueError: If masks hold other values, or not at least two classes.

    Example:
    >>> masks = {"train": np.array([0, 255, 9])}
    >>> labels, names, void = number_classes(masks, mask_values=[0, 255], void=9)
    >>> print(labels["train"], names, void)
    [  0   1 255] ['0', '255'] 255
    """
    if void is None:
        void = "none" if mask_values else UNLABELLED
    if mask_values:
        _check_values(mask_values, label_names, label_offset, void)
        labels = {split: _mapped(masks[split], mask_values, void) for split in masks}
        label = UNLABELLED
    else:
        label = UNLABELLED if void == "none" else void
        labels = {split: _shifted(masks[split], label_offset, label) for split in masks}
    known = label if mask_values else void
    _check_two_classes(labels["train"], known)
    names = label_names or mask_values or _numbers(labels["train"], known)
    for split in labels:
        _check_range(labels[split], len(names), known, split)
    return labels, [*map(str, names)], label


def _check_values(values, names, offset, void):
    if len(set(values)) < max(2, len(values)) or void in values:
        raise ValueError(
            "Expected --mask_values of at least two classes, each once and none of "
            f"them --void. Received: mask_values={values}, void={void}"
        )
    if offset or (names and len(names) != len(values)):
        raise ValueError(
            "Expected --mask_values without --label_offset, and --label_names for each "
            f"of them or none. Received: mask_values={values}, label_offset={offset}, "
            f"label_names={names}"
        )


def _mapped(masks, values, void):
    labels = np.full(masks.shape, UNLABELLED, "uint8")
    for label, value in enumerate(values):
        labels[masks == value] = label
    other = _values(masks[labels == UNLABELLED], void)
    if other:
        raise ValueError(
            f"Expected masks that hold --mask_values={_joined(values)} and --void="
            f"{void} alone. Masks that were scaled smoothly, or saved as JPEG once, "
            f"hold values in between. Received: masks that hold {_joined(other)}, too"
        )
    return labels


def _shifted(masks, offset, void):
    if not offset:
        return masks
    labels = masks.astype("int32") + offset
    return np.where(labels < 0, void, labels)


def _check_two_classes(masks, void):
    if len(_values(masks, void)) < 2:
        found = _joined(_values(masks))
        raise ValueError(
            "Expected pixels of at least two classes in the training masks. Where all "
            f"values are classes, say so by --mask_values={found}. Received: masks "
            f"that hold {found}, of which {void} is void (no class)"
        )


def _numbers(masks, void):
    """Numbers up to the largest label, unless most of them have no pixel."""
    found = _values(masks, void)
    classes = found[-1] + 1
    if 2 * len(found) < classes:
        raise ValueError(
            "Expected labels that count the classes from 0 on. Where the values are "
            f"those of the classes, say so by --mask_values={_joined(found)}; else "
            f"name all {classes} by --label_names. Received: masks that hold "
            f"{_joined(found)}"
        )
    return range(classes)


def _check_range(masks, classes, void, split):
    wrong = [value for value in _values(masks, void) if not 0 <= value < classes]
    if wrong or void in range(classes):
        raise ValueError(
            f"Expected labels from 0 to {classes - 1} and void pixels of another "
            "number; --mask_values says which values are classes. Received: split "
            f"{split!r} with labels {wrong[:10]}, void={void}"
        )


def _values(masks, void=None):
    """What masks hold beside void, as Python's integers: NumPy's would wrap."""
    return [value for value in np.unique(masks).tolist() if value != void]


def _joined(values):
    return ",".join([*map(str, values[:10]), *["..."] * (len(values) > 10)])
