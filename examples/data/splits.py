"""Splits of a data set: choosing images by class, reading them into memory."""

from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

_LABEL_BATCH = 1024


class Split(NamedTuple):
    """The images of one split in file order, still undecoded.

    Attributes:
        records: `tf.data.Dataset` of `(record, label)`, the label an int32 scalar.
        decode: Function from a record to a uint8 image `(height, width, channels)`.
        count: Number of images.
        shuffle_buffer: Number of records that may be held to shuffle them.
    """

    records: tf.data.Dataset
    decode: Callable
    count: int
    shuffle_buffer: int


class Source(NamedTuple):
    """A labelled data set.

    Attributes:
        name: Name of the data set.
        splits: Dict of `Split`: `"train"`, `"test"` and, where the data set has one,
            `"validation"`.
        image_shape: `(height, width, channels)`; None where images differ in size, or
            nobody looked.
        label_names: Names of the classes, by label.
        mirror: Whether a mirrored image keeps its label.
        notes: Tuple of sentences: what was decided that the user may not expect.
    """

    name: str
    splits: dict
    image_shape: tuple
    label_names: list
    mirror: bool
    notes: tuple = ()


def in_memory(records, labels, decode=lambda image: image):
    """Makes a `Split` of arrays of records and of labels."""
    dataset = tf.data.Dataset.from_tensor_slices((records, labels.astype("int32")))
    return Split(dataset, decode, count=len(labels), shuffle_buffer=len(labels))


def labels_of(split):
    """Iterates over the labels of a split, without decoding an image."""
    labels = split.records.map(lambda record, label: label).batch(_LABEL_BATCH)
    for batch in labels.as_numpy_iterator():
        yield from batch


def select(split, indices):
    """Keeps the images at some positions of a split, in file order.

    Args:
        split: A `Split`.
        indices: Positions in the split, in any order.

    Returns:
        A `Split` of `len(indices)` images.
    """
    kept = np.zeros(max(indices, default=-1) + 1, bool)
    kept[list(indices)] = True
    table = tf.constant(kept)
    records = (
        split.records.take(len(kept))
        .enumerate()
        .filter(lambda index, element: table[index])
        .map(lambda index, element: element)
    )
    return split._replace(records=records, count=len(indices))


def positions_by_class(split, classes, limit=None):
    """Finds the images of each class, without decoding one.

    Args:
        split: A `Split`.
        classes: Number of classes.
        limit: Stop once this many images of each class are found. Defaults to `None`,
            all of them.

    Returns:
        List of `classes` lists of positions in the split, in file order.
    """
    positions = [[] for _ in range(classes)]
    unfilled = classes
    for position, label in enumerate(labels_of(split)):
        if limit is None or len(positions[label]) < limit:
            positions[label].append(position)
            unfilled -= len(positions[label]) == limit
        if not unfilled:
            break
    return positions


def set_aside(split, names, validation_share=0.1, test_share=0.1):
    """Divides a split into training, validation and test, the same way every time.

    Args:
        split: A `Split`.
        names: Names of the classes, by label.
        validation_share: Share of each class to validate on, at least one image; 0 for
            no validation. Defaults to `0.1`.
        test_share: Share of each class to test on, at least one image. Defaults to
            `0.1`.

    Returns:
        Dict of `Split`: `"train"`, `"test"` and, where it has images, `"validation"`.

    Raises:
        ValueError: If the shares are no such, or leave a class no image to train on.
    """
    if not (validation_share >= 0 and 0 < test_share < 1 - validation_share):
        raise ValueError(
            "Expected `validation_share` of at least 0 and `test_share` above 0, "
            f"together below 1. Received: validation_share={validation_share}, "
            f"test_share={test_share}"
        )
    parts = {"train": [], "validation": [], "test": []}
    # Not the seed of the run: every run must be tested on the same images.
    generator = np.random.default_rng(0)
    by_class = positions_by_class(split, len(names))
    for name, positions in zip(names, by_class, strict=True):
        shuffled = generator.permutation(positions).astype(int)
        validation = _part(len(shuffled), validation_share)
        train = validation + _part(len(shuffled), test_share)
        if train >= len(shuffled):
            raise ValueError(
                "Expected images to train on in every class, beside those that are set "
                f"aside: add images, or another split. Received: class {name!r} with "
                f"{len(shuffled)} images, {validation} of them to validate on and "
                f"{train - validation} to test on"
            )
        parts["validation"].extend(shuffled[:validation])
        parts["test"].extend(shuffled[validation:train])
        parts["train"].extend(shuffled[train:])
    return {name: select(split, chosen) for name, chosen in parts.items() if chosen}


def _part(count, share):
    # Rounded first: 0.29 * 100 is 28.999..., which would be cut to 28.
    return max(int(round(count * share, 6)), 1) if share else 0


def decoded(split, image_shape):
    """Decodes a split's images and brings them to one size.

    Args:
        split: A `Split`.
        image_shape: `(height, width, channels)` of the result.

    Returns:
        `tf.data.Dataset` of `(image, label)`, the image uint8 of `image_shape`.
    """
    resize = resizer(image_shape)
    return split.records.map(
        lambda record, label: (resize(split.decode(record)), label),
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )


def resizer(image_shape):
    """Builds a function that brings a uint8 image to one size.

    Args:
        image_shape: `(height, width, channels)` of the result. What sticks out of its
            aspect ratio is cut off evenly.

    Returns:
        Function from a uint8 tensor `(height, width, channels)` of any size to one of
        `image_shape`.
    """
    layer = keras.layers.Resizing(
        *image_shape[:2], crop_to_aspect_ratio=True, antialias=True, dtype="float32"
    )

    def resize(image):
        image = tf.ensure_shape(image, (None, None, image_shape[2]))
        if image.shape != image_shape:
            image = tf.saturate_cast(tf.round(layer(image)), tf.uint8)
        return image

    return resize


def read_arrays(split, image_shape):
    """Reads a whole split into memory.

    Args:
        split: A `Split`.
        image_shape: `(height, width, channels)` to bring the images to.

    Returns:
        uint8 array `(count, *image_shape)` and int32 array `(count,)`.

    Raises:
        ValueError: If an image can't be decoded.
    """
    images = np.empty((split.count, *image_shape), "uint8")
    labels = np.empty(split.count, "int32")
    batches = decoded(split, image_shape).batch(256).as_numpy_iterator()
    end = 0
    try:
        for some_images, some_labels in batches:
            start, end = end, end + len(some_labels)
            images[start:end], labels[start:end] = some_images, some_labels
    except tf.errors.InvalidArgumentError as error:
        raise ValueError(
            f"Expected images that can be decoded. Received: {_first_unreadable(split)}"
        ) from error
    return images, labels


def _first_unreadable(split):
    for position, (record, _) in enumerate(split.records):
        try:
            split.decode(record)
        except tf.errors.InvalidArgumentError:
            # The record of an image file is its path.
            return f"image {position} of the split, {record.numpy()[:500]}"
    return "images that failed once and can be decoded now"
