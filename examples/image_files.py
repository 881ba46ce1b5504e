"""Files that should be images: tried before a training meets them."""

import concurrent.futures
import pathlib

import keras
import tensorflow as tf
from absl import logging

# What happens to files that are no images: `trust` goes by their names.
POLICIES = ("refuse", "skip", "trust")
_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png")
_LONG, _NAMED = 2000, 20


def decode_file(path):
    """Reads an image file of any kind as uint8 `(height, width, 3)`.

    Animations give their first picture, 16-bit and CMYK images 8-bit RGB.
    """
    return tf.io.decode_image(tf.io.read_file(path), 3, expand_animations=False)


def find_images(folder, bad_images="refuse"):
    """Lists the images in a folder and the folders in it.

    Args:
        folder: Path of a directory.
        bad_images: What to do with files that cannot be decoded, such as empty,
            truncated or other ones: `"refuse"` them all, or `"skip"` them with a
            warning that names them. `"trust"` decodes none, and takes the files that
            are named as images. Hidden files never count. Defaults to `"refuse"`.

    Returns:
        Sorted list of paths.

    Raises:
        ValueError: If there is no image, or one to refuse.
    """
    files = sorted(
        path
        for path in pathlib.Path(folder).rglob("*")
        if path.is_file() and not path.name.startswith(".")
    )
    if bad_images == "trust":
        files = [path for path in files if path.suffix.lower() in _SUFFIXES]
    else:
        files = _usable(files, skip=bad_images == "skip")
    if not files:
        raise ValueError(f"Expected images in {folder}. Received: none")
    return files


def _usable(files, skip):
    progress = keras.utils.Progbar(len(files), verbose=int(len(files) >= _LONG))
    problems = {}
    with concurrent.futures.ThreadPoolExecutor() as pool:
        for path, problem in zip(files, pool.map(_problem, files), strict=True):
            progress.add(1)
            if problem:
                problems[path] = problem
    if problems:
        named = [f"{path} ({why})" for path, why in problems.items()][:_NAMED]
        rest = [f"and {len(problems) - _NAMED} more"] * (len(problems) > _NAMED)
        found = f"{len(problems)} of {len(files)} files: {', '.join(named + rest)}"
        if not skip:
            raise ValueError(
                "Expected images only. Remove the others, or leave them out with "
                f"--bad_images=skip. Received: {found}"
            )
        logging.warning("Left out, because they are no images: %s", found)
    return [path for path in files if path not in problems]


def _problem(path):
    """Why a file is no image, or `None`."""
    if not path.stat().st_size:
        return "empty"
    try:
        with tf.device("CPU"):
            decode_file(str(path))
    except tf.errors.OpError as error:
        return error.message.partition("[Op:")[0].rpartition("}}")[2].strip()[:100]
    return None
