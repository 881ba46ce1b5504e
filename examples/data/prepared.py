"""Labelled images as batches, from bundled digits, class folders or TFDS."""

import functools
import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from examples.data import batches
from examples.data.augmentation import random_crops
from examples.data.class_range import of_classes
from examples.data.needs import training_with
from examples.data.sources import open_source
from examples.data.splits import positions_by_class, read_arrays, select

_IN_MEMORY_BYTES = 2**30
_STATISTICS_IMAGES = 2048
# A camera's photographs, all of one size, are not trained on at that size.
_USUAL_SIZE, _LARGEST = (224, 224), 512 * 512
_SPLITS = ("train", "validation", "test")


class Data(NamedTuple):
    """A data set ready to train on.

    Attributes:
        name: Name of the data set.
        train: Function `train(first_epoch=0, context=None, needs=())` that returns an
            endless `tf.data.Dataset` of `(images, labels)`, or as `training_with` says
            of `({"image": images, ...}, labels)`, from that epoch on: float32 `(batch,
            height, width, channels)`, normalised, and int32 `(batch,)`.
            Order and augmentation depend only on seed, epoch and position. With a
            `tf.distribute.InputContext` it yields that worker's part of the batches,
            one replica's at a time.
        steps_per_epoch: Number of training batches an epoch; images that don't fill a
            batch are left to other epochs.
        validation: Finite `tf.data.Dataset` of such batches, not augmented, the last
            one partial; None where there is no such split.
        test: Like `validation`.
        classes: Number of classes.
        image_shape: `(height, width, channels)` of the images.
        label_names: Names of the classes, by label.
        examples: Dict from split to its number of images.
        mean: float32 array `(channels,)`, mean of the training pixels in [0, 255].
        std: float32 array `(channels,)`, their standard deviation.
        void: For masks, labels `(batch, height, width)`: the one to ignore.
        notes: Tuple of sentences: what was decided that the user may not expect.
    """

    name: str
    train: Callable
    steps_per_epoch: int
    validation: tf.data.Dataset | None
    test: tf.data.Dataset
    classes: int
    image_shape: tuple
    label_names: list
    examples: dict
    mean: np.ndarray
    std: np.ndarray
    void: int | None = None
    notes: tuple = ()


def load_data(
    dataset="digits",
    data_dir=None,
    train_per_class=None,
    validation_per_class=0,
    batch_size=64,
    image_size=None,
    seed=0,
    augment=True,
    mirror=None,
    fast=False,
    download=True,
    bad_images="refuse",
    validation_share=None,
    test_share=None,
    label_key=None,
    classes=None,
):
    """Loads a data set of labelled images.

    Training images are padded with an eighth of their height in black (4 pixels at
    32x32), cropped and mirrored at random; written characters aren't mirrored. Splits
    above 1 GiB are streamed, with random resized crops instead. All images are
    normalised by mean and standard deviation of the training images (of the first
    2,048 where they are streamed).

    Args:
        dataset: `"digits"`, scikit-learn's 1,797 handwritten digits at 32x32 pixels:
            300 to train, 200 to validate, the rest to test; `"folder"`, images in
            folders named by class, or in such folders under `train`, `validation`
            (or `val`) and `test`; or the name of a TFDS image classification set.
        data_dir: Directory of the class folders, or of prepared TFDS data sets.
        train_per_class: Keep the first images of each class in file order. Defaults
            to `None`, all of them.
        validation_per_class: Hold out this many training images of each class to
            validate on: those after the first `train_per_class`, else the last ones.
            For data sets without a validation split of their own. Defaults to `0`.
        batch_size: Number of images of a batch. Defaults to `64`.
        image_size: `(height, width)` in pixels. Defaults to `None`: the images' own
            size, or 224x224 where they differ or have more than 512x512 pixels.
        seed: Integer that decides order and augmentation. Defaults to `0`.
        augment: Whether to augment the training images. Defaults to `True`.
        mirror: Whether to mirror them. Defaults to `None`, all but characters.
        fast: Whether to keep only a few images of each class. Defaults to `False`.
        download: Whether TFDS may download the data set. Defaults to `True`.
        bad_images: As in `open_source`. Defaults to `"refuse"`.
        validation_share: As in `open_source`. Defaults to `None`.
        test_share: As in `open_source`. Defaults to `None`.
        label_key: As in `open_source`. Defaults to `None`.
        classes: Pair of integers `(first, end)`: keep the classes from `first` up to,
            not including, `end`, renumbered from 0. Defaults to `None`, all.

    Returns:
        `Data`.

    Raises:
        ValueError: If the data set can't be opened or is too small for the arguments.

    Example:
    >>> data = load_data("digits", batch_size=32)
    >>> data.examples
    {'train': 300, 'validation': 200, 'test': 1297}
    >>> images, labels = next(iter(data.train()))
    >>> images.shape
    TensorShape([32, 32, 32, 1])
    """
    source = open_source(
        dataset,
        data_dir,
        download,
        bad_images,
        validation_share,
        test_share,
        label_key,
    )
    if classes is not None:
        source = of_classes(source, *classes)
    splits = _chosen(source, train_per_class, validation_per_class, batch_size, fast)
    if splits["train"].count < batch_size:
        raise ValueError(
            "Expected at least one batch of training images. Received: "
            f"batch_size={batch_size}, but {splits['train'].count} training images"
        )
    size, because = _chosen_size(source.image_shape[:2], image_size)
    shape = (*size, source.image_shape[2])
    mirror = source.mirror if mirror is None else mirror
    train, (mean, std) = _training(
        splits["train"],
        shape,
        batch_size=batch_size,
        seed=seed,
        augment=augment,
        mirror=mirror,
    )
    evaluation = {
        name: batches.normalised(_evaluation(split, shape, batch_size), mean, std)
        for name, split in splits.items()
        if name != "train"
    }

    def normalised_training(*position, **options):
        return batches.normalised(train(*position, **options), mean, std)

    return Data(
        name=source.name,
        train=training_with(
            normalised_training, splits["train"].count, batch_size, augment
        ),
        steps_per_epoch=splits["train"].count // batch_size,
        validation=evaluation.get("validation"),
        test=evaluation["test"],
        classes=len(source.label_names),
        image_shape=shape,
        label_names=source.label_names,
        examples={name: split.count for name, split in splits.items()},
        mean=mean,
        std=std,
        notes=(*source.notes, *_notes(size, because, augment, mirror)),
    )


def _chosen_size(own, asked):
    """Returns `(height, width)`, and why."""
    if asked:
        return asked, "as asked for"
    if None in own:
        return _USUAL_SIZE, "as they differ in size, or were not looked at"
    if math.prod(own) > _LARGEST:
        return _USUAL_SIZE, f"theirs are {own[0]}x{own[1]}"
    return own, "the images' own size"


def _notes(size, because, augment, mirror):
    yield f"Images are {size[0]}x{size[1]} pixels, {because} (--image_size)."
    if augment:
        how = "mirrored at random (--nomirror)" if mirror else "not mirrored (--mirror)"
        yield f"Training images are cropped at random and {how}."


def _chosen(source, train_per_class, validation_per_class, batch_size, fast):
    splits, classes = dict(source.splits), len(source.label_names)
    if fast:
        few = max(8, math.ceil(batch_size / classes))
        train_per_class = min(train_per_class or few, few)
    if validation_per_class and "validation" in splits:
        raise ValueError(
            "Expected `validation_per_class` to be 0 for a data set with a validation "
            f"split of its own. Received: dataset={source.name!r}, "
            f"validation_per_class={validation_per_class}"
        )
    if train_per_class or validation_per_class:
        splits |= _held_out(source, train_per_class, validation_per_class)
    if fast:
        each = max(1, 100 // classes)
        for name in splits.keys() - {"train"}:
            by_class = positions_by_class(splits[name], classes, each)
            positions = list(itertools.chain.from_iterable(by_class))
            splits[name] = select(splits[name], positions)
    return {name: splits[name] for name in _SPLITS if name in splits}


def _held_out(source, train_per_class, validation_per_class):
    names, split = source.label_names, source.splits["train"]
    limit = train_per_class and train_per_class + validation_per_class
    train, validation = [], []
    by_class = positions_by_class(split, len(names), limit)
    for name, positions in zip(names, by_class, strict=True):
        end = train_per_class or len(positions) - validation_per_class
        if end < 1:
            raise ValueError(
                "Expected `validation_per_class` to leave training images of every "
                f"class. Received: validation_per_class={validation_per_class}, but "
                f"class {name!r} has {len(positions)} images"
            )
        train += positions[:end]
        validation += positions[end : end + validation_per_class]
    held_out = {"validation": select(split, validation)} if validation else {}
    return {"train": select(split, train)} | held_out


def _training(split, shape, *, augment, mirror, **options):
    if _fits_in_memory(split, shape):
        images, labels = read_arrays(split, shape)
        crops = functools.partial(random_crops, mirror=mirror) if augment else None
        train = batches.training_from_memory(images, labels, augment=crops, **options)
        return train, batches.pixel_statistics(images)
    first = select(split, range(min(split.count, _STATISTICS_IMAGES)))
    images, _ = read_arrays(first, shape)
    options |= {"augment": augment, "mirror": mirror}
    train = batches.training_streamed(split, shape, **options)
    return train, batches.pixel_statistics(images)


def _evaluation(split, shape, batch_size):
    if _fits_in_memory(split, shape):
        arrays = read_arrays(split, shape)
        return batches.evaluation_from_memory(*arrays, batch_size=batch_size)
    return batches.evaluation_streamed(split, shape, batch_size=batch_size)


def _fits_in_memory(split, shape):
    return split.count * math.prod(shape) <= _IN_MEMORY_BYTES
