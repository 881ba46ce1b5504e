"""Where images with masks come from: drawn digit scenes, folders, TFDS."""

import itertools
import pathlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from examples.data.digit_scenes import NAMES, VOID, digit_scenes
from examples.data.mask_folders import find_pairs, read_pair

_IN_MEMORY_BYTES = 4 * 2**30


class MaskSource(NamedTuple):
    """A data set of images with a class for each pixel.

    Attributes:
        name: Name of the data set.
        splits: Dict from `"train"`, `"validation"` and `"test"` to a function that
            returns an iterator of arrays `(image, mask)`, uint8 `(height, width, 1 or
            3)` and integers `(height, width, 1)`, in file order.
        label_names: Names of the classes, by label; `None` where nobody wrote them.
        void: Label of the pixels that belong to no class, or `None`.
        mirror: Whether a mirrored image keeps its labels.
    """

    name: str
    splits: dict[str, Callable]
    label_names: list | None
    void: int | None
    mirror: bool


def open_mask_source(
    dataset,
    data_dir=None,
    download=True,
    image_key="image",
    mask_key="segmentation_mask",
    bad_images="refuse",
    shares=None,
):
    """Opens a data set of images with masks by name.

    Args:
        dataset: `"digit_scenes"`, drawn from scikit-learn's digits; `"folder"`, files
            laid out as `mask_folders.find_pairs` takes them; the name of a TFDS data
            set; or the path of a prepared one.
        data_dir: Directory of the folders, or of prepared TFDS data sets.
        download: Whether TFDS may download what `data_dir` doesn't hold. Defaults to
            `True`.
        image_key: Feature of a TFDS data set that holds the images.
        mask_key: Feature that holds the masks.
        bad_images: What to do with an image of `"folder"` that cannot be read, or whose
            mask cannot: `"refuse"` it, `"skip"` it with a warning that names it, or
            `"trust"` that there is none. Defaults to `"refuse"`.
        shares: Dict from `"test"` and `"validation"` to the share of the images to set
            aside of a `"folder"` without such splits. Defaults to `None`, 0.1 each.

    Returns:
        A `MaskSource`.

    Raises:
        ValueError: If the data set is unknown, has no such features or no masks.

    References:
        Gabriel Brostow et al., "Semantic object classes in video: A high-definition
        ground truth database" (CamVid), Pattern Recognition Letters, 2009.
    """
    if dataset == "digit_scenes":
        splits = {
            split: lambda split=split: _scenes(split)
            for split in ("train", "validation", "test")
        }
        return MaskSource("digit_scenes", splits, NAMES, VOID, mirror=False)
    if dataset == "folder":
        given = {
            name: part for name, part in (shares or {}).items() if part is not None
        }
        shares = {"test": 0.1, "validation": 0.1} | given
        return _folder(data_dir, bad_images, shares)
    return _tfds(dataset, data_dir, download, image_key, mask_key)


def _scenes(split):
    images, masks = digit_scenes(split)
    return zip(images, masks[..., None], strict=True)


def _folder(data_dir, bad_images, shares):
    splits = {
        split: lambda pairs=pairs: map(read_pair, pairs)
        for split, pairs in find_pairs(data_dir, bad_images, shares).items()
    }
    name = pathlib.Path(data_dir).resolve().name
    return MaskSource(name, splits, None, None, mirror=True)


def _tfds(dataset, data_dir, download, image_key, mask_key):
    import tensorflow_datasets as tfds

    from examples.data.sources import prepared_builder

    if (pathlib.Path(dataset) / "dataset_info.json").exists():
        builder = tfds.builder_from_directory(dataset)
    else:
        builder = prepared_builder(dataset, data_dir, download)
    features = builder.info.features
    if not {image_key, mask_key} <= set(features):
        raise ValueError(
            f"Expected a data set with the features {image_key!r} and {mask_key!r}; "
            f"others are named by flags. Received: dataset={dataset!r} with "
            f"{sorted(features)}"
        )
    if features[mask_key].shape[-1] != 1:
        raise ValueError(
            "Expected masks of one channel that holds class numbers. Received: "
            f"dataset={dataset!r} with {mask_key!r} of shape {features[mask_key].shape}"
        )
    config = tfds.ReadConfig(interleave_cycle_length=1)

    def read(split):
        examples = builder.as_dataset(split=split, read_config=config)
        for example in examples.as_numpy_iterator():
            yield example[image_key], example[mask_key]

    splits = {
        split: lambda split=split: read(split)
        for split in ("train", "validation", "test")
        if split in builder.info.splits
    }
    names = getattr(features[mask_key], "names", None)
    return MaskSource(builder.name, splits, names, None, mirror=True)


def read_masked_images(source, split, size=None, limit=None):
    """Reads images and masks of a split into memory, brought to one size.

    Args:
        source: `MaskSource`.
        split: Name of the split.
        size: `(height, width)` in pixels: images are resized bilinearly, masks to the
            nearest pixel, and what sticks out of the aspect ratio is cut off evenly.
            Defaults to `None`, the images' own size.
        limit: Read the first images only. Defaults to `None`, all of them.

    Returns:
        Arrays, uint8 `(count, height, width, channels)` and integers `(count, height,
        width)`.

    Raises:
        ValueError: If an image can't be decoded, differs in size from its mask, or,
            without a `size`, from the other images, or if all together are too large.
    """
    images, masks, held = [], [], 0
    pairs = itertools.islice(source.splits[split](), limit)
    try:
        for image, mask in pairs:
            _check_pair(image, mask, len(images), source.name, split)
            if mask.dtype != "uint8":  # Resizing and tf.data take no bool or uint16.
                mask = mask.astype("int32")
            if size is not None and image.shape[:2] != tuple(size):
                image, mask = (
                    _fitted(image, size, "bilinear"),
                    _fitted(mask, size, "nearest"),
                )
            images.append(image)
            masks.append(mask[..., 0])
            held += image.nbytes + mask.nbytes
            check_memory(held, source.name, split)
    except (tf.errors.InvalidArgumentError, OSError) as error:
        raise ValueError(
            "Expected images and masks that can be decoded. Received: image "
            f"{len(images)} of {source.name}, split {split!r}: {error}"
        ) from error
    if len({image.shape for image in images}) != 1:
        raise ValueError(
            "Expected images of one size, or an image size to bring them to. Received: "
            f"{source.name}, split {split!r} with {len(images)} images of shapes "
            f"{sorted({image.shape for image in images})[:5]}"
        )
    return np.stack(images), np.stack(masks)


def check_memory(held, name, split):
    """Refuses data that is too large to be held in memory."""
    if held > _IN_MEMORY_BYTES:
        raise ValueError(
            f"Expected images and masks of at most {_IN_MEMORY_BYTES / 2**30:.0f} GiB "
            "a split. Choose a smaller image size or fewer training images. Received: "
            f"more in {name}, split {split!r}"
        )


def _check_pair(image, mask, position, name, split):
    if image.shape[:2] != mask.shape[:2] or mask.shape[2:] != (1,):
        raise ValueError(
            "Expected a mask (height, width, 1) of its image's size. Received: image "
            f"{position} of {name}, split {split!r}, image {image.shape}, mask "
            f"{mask.shape}"
        )


def _fitted(picture, size, method):
    """Cuts the middle of the right aspect ratio, and resizes it."""
    height, width = picture.shape[:2]
    scale = min(height / size[0], width / size[1])
    cut = round(size[0] * scale), round(size[1] * scale)
    top, left = (height - cut[0]) // 2, (width - cut[1]) // 2
    picture = picture[top : top + cut[0], left : left + cut[1]]
    resized = tf.image.resize(picture, size, method, antialias=method != "nearest")
    return np.rint(resized.numpy()).astype(picture.dtype)
