"""Folders of images and masks, in the layouts in which people keep them."""

import glob
import math
import pathlib
import zlib

import numpy as np
from PIL import Image, ImageOps

from examples.data.image_files import tried_once, usable

LAYOUTS = """\
train/ + trainannot/, train/images/ + train/masks/ or images/train/ + masks/train/,
likewise val and test, or images/ + masks/, of which shares are set aside"""
_PATTERNS = (("{}/images", "{}/masks"), ("images/{}", "masks/{}"), ("{}", "{}annot"))
_SPLITS = {
    "train": "train",
    "val": "validation",
    "validation": "validation",
    "test": "test",
}
_IMAGES = (".png", ".jpg", ".jpeg", ".bmp")


def find_pairs(data_dir, bad_images, shares):
    """Lists the images of a directory and their masks.

    Args:
        data_dir: Path of the directory, laid out as `LAYOUTS` says. A mask is a PNG
            named as its image, with a suffix that all masks share or without, such as
            `cat_mask.png` for `cat.jpg`.
        bad_images: `"refuse"`, `"skip"` or `"trust"`, as in `open_mask_source`.
        shares: Dict from `"test"` and `"validation"` to the share of the images to set
            aside where the directory has neither split; always the same images.

    Returns:
        Dict from split to its list of paths `(image, mask)`.

    Raises:
        ValueError: If there is no such layout, or an image without a mask.
    """
    found = {} if data_dir is None else _folders(pathlib.Path(data_dir))
    if "train" not in found:
        raise ValueError(
            f"Expected `data_dir` to hold the folders {LAYOUTS}. "
            f"Received: data_dir={data_dir}".replace("\n", " ")
        )
    pairs = {split: _pairs(*folders, bad_images) for split, folders in found.items()}
    return pairs if len(pairs) > 1 else divided(pairs["train"], shares)


def _folders(root):
    """Dict from split to the folders of its images and of its masks."""
    for images, masks in _PATTERNS:
        found = {
            split: (root / images.format(name), root / masks.format(name))
            for name, split in _SPLITS.items()
            if (root / images.format(name)).is_dir()
        }
        if "train" in found:
            return found
    undivided = root / "images", root / "masks"
    return {"train": undivided} if undivided[0].is_dir() else {}


def divided(pairs, shares):
    """Sets shares of the pairs aside, chosen by name, whatever else there is.

    Example:
    >>> pairs = [(pathlib.Path(f"{name}.jpg"), None) for name in "abcdefghij"]
    >>> splits = divided(pairs, {"test": 0.2, "validation": 0.1})
    >>> {split: "".join(file.stem for file, _ in splits[split]) for split in splits}
    {'test': 'fg', 'validation': 'd', 'train': 'abcehij'}
    """
    # A hash spreads files that follow each other, and stays when others are added.
    rest = sorted(pairs, key=lambda pair: zlib.crc32(pair[0].name.encode()))
    splits = {}
    for split, share in shares.items():
        count = math.ceil(share * len(pairs))
        splits[split], rest = rest[:count], rest[count:]
    splits["train"] = rest
    return {split: sorted(some) for split, some in splits.items() if some}


def _pairs(images, masks, bad_images):
    files = sorted(f for f in images.iterdir() if f.suffix.lower() in _IMAGES)
    if not files:
        raise ValueError(
            f"Expected images ({', '.join(_IMAGES)}) in {images}. Received: none"
        )
    suffix = _suffix(files, masks)
    pairs = [(file, masks / f"{file.stem}{suffix}.png") for file in files]
    missing = [str(mask) for _, mask in pairs if not mask.exists()]
    if missing:
        raise ValueError(
            "Expected a mask, a PNG of class numbers, for each image. Missing: "
            f"{', '.join(missing[:3])} ({len(missing)} in all)"
        )
    if bad_images == "trust":
        return pairs
    return usable(pairs, _problem, skip=bad_images == "skip")


def _suffix(files, masks):
    """What all masks have behind the names of their images, often nothing."""
    stem = files[0].stem
    first = sorted(masks.glob(f"{glob.escape(stem)}*.png"))
    for suffix in [mask.stem.removeprefix(stem) for mask in first]:
        if all((masks / f"{file.stem}{suffix}.png").exists() for file in files):
            return suffix
    return ""


@tried_once
def _problem(pair):
    """What is wrong with an image and its mask, or `None`."""
    try:
        image, mask = read_pair(pair)
    except (OSError, ValueError, SyntaxError) as error:
        return str(error)  # Pillow calls a broken PNG a SyntaxError.
    if image.shape[:2] != mask.shape[:2]:
        return f"{image.shape[:2]} pixels, but its mask {mask.shape[:2]}"
    return None


def read_pair(pair):
    """Reads an image, upright, and its mask.

    Returns:
        uint8 array `(height, width, 3)`, and integers `(height, width, 1)`: the grey
        values of the mask, or the numbers of its colours where it has a palette, as
        VOC's do.

    Raises:
        ValueError: If the mask has colours.
    """
    with Image.open(pair[0]) as image, Image.open(pair[1]) as mask:
        colours = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
        numbers = np.asarray(ImageOps.exif_transpose(mask))
        bands = [band for band in mask.getbands() if band != "A"]
        mode = mask.mode
    numbers = numbers.reshape(*numbers.shape[:2], -1)[..., : len(bands)]
    if numbers.dtype.kind == "f" or np.any(numbers != numbers[..., :1]):
        raise ValueError(
            "Expected masks of class numbers, grey or with a palette. "
            f"Received: {pair[1]} of mode {mode}"
        )
    return colours, numbers[..., :1]
