"""Images with masks as batches; the joint augmentation keeps them together."""

import functools

import tensorflow as tf

from examples.data import batches
from examples.data.augmentation import apply_windows, draw_windows
from examples.data.mask_labels import number_classes
from examples.data.needs import training_with
from examples.data.prepared import Data
from examples.data.segmentation_sources import open_mask_source, read_masked_images

_SCALES = (0.75, 1.75)


def load_masked_data(
    dataset="digit_scenes",
    data_dir=None,
    image_key="image",
    mask_key="segmentation_mask",
    label_offset=0,
    label_names=None,
    void=None,
    image_size=None,
    train_images=None,
    batch_size=8,
    seed=0,
    augment=True,
    fast=False,
    download=True,
    bad_images="refuse",
    mask_values=None,
    shares=None,
):
    """Loads a data set of images with masks.

    Training images are scaled by 0.75 to 1.75, cropped and mirrored at random together
    with their masks; what lies outside of an image is void. All images are normalised
    by mean and standard deviation of the training images.

    Args:
        dataset: `"digit_scenes"`, `"folder"`, the name of a TFDS data set or the path
            of a prepared one: see `open_mask_source`.
        data_dir: Directory of the folders, or of prepared TFDS data sets.
        image_key: Feature of a TFDS data set that holds the images.
        mask_key: Feature that holds the masks.
        label_offset: Added to each label, before anything else is done with it: -1
            where they begin with 1. A label below 0 is void. Defaults to `0`.
        label_names: Names of the classes. Defaults to `None`: the data set's own, or
            numbers up to the largest label of the training masks.
        void: Label (after the offset) of pixels that belong to no class, or `"none"`
            where there are none. Defaults to `None`: the data set's own, else 255, but
            with `mask_values` none.
        image_size: `(height, width)` in pixels. Defaults to `None`, the images' own.
        train_images: Keep the first training images only. Defaults to `None`, all.
        batch_size: Number of images of a batch. Defaults to `8`.
        seed: Integer that decides order and augmentation. Defaults to `0`.
        augment: Whether to augment the training images. Defaults to `True`.
        fast: Whether to keep only a few images. Defaults to `False`.
        download: Whether TFDS may download the data set. Defaults to `True`.
        bad_images: What to do with files of `"folder"` that are no images, as in
            `open_mask_source`. Defaults to `"refuse"`.
        mask_values: What masks hold for each class, in the order of the classes, such
            as `[0, 255]`. Defaults to `None`: the numbers of the classes.
        shares: Dict from `"test"` and `"validation"` to the share of the images to set
            aside of a folder without such splits. Defaults to `None`, 0.1 each.

    Returns:
        `examples.data.prepared.Data`: labels are int32 `(batch, height, width)`, and
        `void` tells which of them to ignore.

    Raises:
        ValueError: If the data set can't be opened, is too small or too large, or has
            labels out of range.

    Example:
    >>> data = load_masked_data(batch_size=4)
    >>> data.examples
    {'train': 64, 'validation': 80, 'test': 240}
    >>> images, masks = next(iter(data.train()))
    >>> images.shape, masks.shape
    (TensorShape([4, 64, 64, 1]), TensorShape([4, 64, 64]))
    """
    source = open_mask_source(
        dataset, data_dir, download, image_key, mask_key, bad_images, shares
    )
    limits = {"train": train_images}
    if fast:
        limits = dict.fromkeys(source.splits, 2 * batch_size)
    arrays = _read(source, image_size, limits)
    masks, names, void = number_classes(
        {split: masks for split, (_, masks) in arrays.items()},
        label_names or source.label_names,
        mask_values,
        label_offset,
        source.void if void is None else void,
    )
    arrays = {split: (images, masks[split]) for split, (images, _) in arrays.items()}
    images, masks = arrays["train"]
    if len(images) < batch_size:
        raise ValueError(
            "Expected at least one batch of training images. Received: "
            f"batch_size={batch_size}, but {len(images)} training images"
        )
    mean, std = batches.pixel_statistics(images)
    window = functools.partial(
        _random_windows, void=void, fill=mean, mirror=source.mirror
    )
    train = batches.training_from_memory(
        images,
        masks,
        batch_size=batch_size,
        seed=seed,
        augment=window if augment else None,
    )

    def normalised_training(*position, **options):
        return batches.normalised(train(*position, **options), mean, std)

    evaluation = {
        split: batches.normalised(
            batches.evaluation_from_memory(*arrays[split], batch_size=batch_size),
            mean,
            std,
        )
        for split in arrays.keys() - {"train"}
    }
    return Data(
        name=source.name,
        train=training_with(normalised_training, len(images), batch_size, augment),
        steps_per_epoch=len(images) // batch_size,
        validation=evaluation.get("validation"),
        test=evaluation["test"],
        classes=len(names),
        image_shape=images.shape[1:],
        label_names=names,
        examples={split: len(images) for split, (images, _) in arrays.items()},
        mean=mean,
        std=std,
        void=void,
    )


def with_binary_masks(data):
    """The data of two classes for a student of one logit.

    Training and validation yield masks `(batch, height, width, 1)` of 0 and 1 and
    weights `(batch, height, width)`, 0 where a pixel is void, because binary
    cross-entropy has no label to ignore. The test batches stay as they are.

    Raises:
        ValueError: If there are not two classes.
    """
    if data.classes != 2:
        raise ValueError(
            "Expected two classes with --binary; leave it out for others. Received: "
            f"{data.name} with {data.classes} classes: {', '.join(data.label_names)}"
        )

    def split(images, masks):
        known = masks != data.void
        return images, tf.where(known, masks, 0)[..., None], tf.cast(known, "float32")

    return data._replace(
        train=lambda *position, **options: data.train(*position, **options).map(split),
        validation=data.validation and data.validation.map(split),
    )


def _read(source, size, limits):
    """Dict from split to images and masks, validation as test where there is none."""
    arrays = {
        split: read_masked_images(source, split, size, limits.get(split))
        for split in source.splits
    }
    if "test" not in arrays and "validation" in arrays:
        arrays["test"] = arrays.pop("validation")
    if not {"train", "test"} <= arrays.keys():
        raise ValueError(
            "Expected a data set with training and test (or validation) images. "
            f"Received: {source.name} with {sorted(arrays)}"
        )
    return arrays


def _random_windows(images, masks, key, void, fill, mirror):
    boxes = draw_windows(key, images.shape[0], _SCALES, mirror)
    return apply_windows(images, masks, boxes, void, fill)
