"""Where images with masks come from: drawn digit scenes, folders, TFDS."""

import itertools
import pathlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from PIL import Image

from examples.digit_scenes import NAMES, VOID, digit_scenes
from examples.image_files import usable

_SPLIT_FOLDERS = {"train": "train", "val": "validation", "test": "test"}
_IN_MEMORY_BYTES = 4 * 2**30
_IMAGES = (".png", ".jpg", ".jpeg", ".bmp")


class MaskSource(NamedTuple):
    """A data set of images with a class for each pixel.

    Attributes:
        name: Name of the data set.
        splits: Dict from `"train"`, `"validation"` and `"test"` to a function that
            returns an iterator of arrays `(image, mask)`, uint8 `(height, width, 1 or
            3)` and `(height, width, 1)`, in file order.
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
):
    """Opens a data set of images with masks by name.

    Args:
        dataset: `"digit_scenes"`, drawn from scikit-learn's digits; `"folder"`, files
            in `train`, `val` and `test` with masks of the same names in `trainannot`,
            `valannot` and `testannot` (CamVid's public layout); the name of a TFDS
            data set; or the path of a prepared one.
        data_dir: Directory of the folders, or of prepared TFDS data sets.
        download: Whether TFDS may download what `data_dir` doesn't hold. Defaults to
            `True`.
        image_key: Feature of a TFDS data set that holds the images.
        mask_key: Feature that holds the masks.
        bad_images: What to do with an image of `"folder"` that cannot be read, or whose
            mask cannot: `"refuse"` it, `"skip"` it with a warning that names it, or
            `"trust"` that there is none. Defaults to `"refuse"`.

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
        return _folder(data_dir, bad_images)
    return _tfds(dataset, data_dir, download, image_key, mask_key)


def _scenes(split):
    images, masks = digit_scenes(split)
    return zip(images, masks[..., None], strict=True)


def _folder(data_dir, bad_images):
    root = pathlib.Path(data_dir or "")
    found = {
        split: _pairs(root / folder, root / f"{folder}annot", bad_images)
        for folder, split in _SPLIT_FOLDERS.items()
        if data_dir is not None and (root / folder).is_dir()
    }
    if "train" not in found:
        raise ValueError(
            "Expected `data_dir` to hold the folders train (images) and trainannot "
            "(masks of the same names), and likewise val and test. Received: "
            f"data_dir={data_dir}"
        )
    splits = {
        split: lambda pairs=pairs: map(_read, pairs) for split, pairs in found.items()
    }
    return MaskSource(root.resolve().name, splits, None, None, mirror=True)


def _pairs(images, masks, bad_images):
    """A list of the paths of an image and of its mask."""
    files = sorted(f for f in images.iterdir() if f.suffix.lower() in _IMAGES)
    if not files:
        raise ValueError(
            f"Expected images ({', '.join(_IMAGES)}) in {images}. Received: none"
        )
    pairs = [(file, masks / f"{file.stem}.png") for file in files]
    missing = [str(mask) for _, mask in pairs if not mask.exists()]
    if missing:
        raise ValueError(
            "Expected a mask, a PNG of class numbers, for each image. Missing: "
            f"{', '.join(missing[:3])} ({len(missing)} in all)"
        )
    if bad_images == "trust":
        return pairs
    return usable(pairs, _problem, skip=bad_images == "skip")


def _problem(pair):
    """What is wrong with an image and its mask, or `None`."""
    try:
        image, mask = _read(pair)
    except (OSError, ValueError, SyntaxError) as error:
        return str(error)  # Pillow calls a broken PNG a SyntaxError.
    if image.shape[:2] != mask.shape[:2]:
        return f"{image.shape[:2]} pixels, but its mask {mask.shape[:2]}"
    return None


def _read(pair):
    image_path, mask_path = pair
    with Image.open(image_path) as image, Image.open(mask_path) as mask:
        # A mask with a palette holds the numbers of its colours, as VOC's do.
        if mask.mode not in ("1", "L", "P"):
            raise ValueError(
                "Expected masks of class numbers, grey or with a palette. "
                f"Received: {mask_path} of mode {mask.mode}"
            )
        colours = np.asarray(image.convert("RGB"))
        return colours, np.asarray(mask).astype("uint8")[..., None]


def _tfds(dataset, data_dir, download, image_key, mask_key):
    import tensorflow_datasets as tfds

    from examples.sources import prepared_builder

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
        uint8 arrays `(count, height, width, channels)` and `(count, height, width)`.

    Raises:
        ValueError: If an image can't be decoded, differs in size from its mask, or,
            without a `size`, from the other images, or if all together are too large.
    """
    images, masks, held = [], [], 0
    pairs = itertools.islice(source.splits[split](), limit)
    try:
        for image, mask in pairs:
            _check_pair(image, mask, len(images), source.name, split)
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
