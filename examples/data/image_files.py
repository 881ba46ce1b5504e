"""Files that should be images: tried before a training meets them."""

import concurrent.futures
import functools
import pathlib
import sys

import keras
import tensorflow as tf
from absl import logging
from PIL import ExifTags, Image, JpegImagePlugin

from keras_selfkd.export.orientation import decode_upright

# What happens to files that are no images: `trust` goes by their names.
POLICIES = ("refuse", "skip", "trust")
_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png")
_LONG, _NAMED = 2000, 20


def decode_file(path):
    """Reads an image file of any kind as uint8 `(height, width, 3)`.

    Animations give their first picture, 16-bit and CMYK images 8-bit RGB, JPEGs are
    turned as their EXIF data say: as files of the student that take encoded images do.
    """
    return decode_upright(tf.io.read_file(path))


def find_images(folders, bad_images="refuse"):
    """Lists the images in folders and in the folders in them.

    Args:
        folders: List of paths of directories.
        bad_images: What to do with files that cannot be decoded, such as empty,
            truncated or other ones: `"refuse"` them all, or `"skip"` them with a
            warning that names them. `"trust"` decodes none, and takes the files that
            are named as images. Hidden files never count. Defaults to `"refuse"`.

    Returns:
        For each folder the sorted list of its paths.

    Raises:
        ValueError: If a folder has no image, or one to refuse.
    """
    files = {
        path: folder
        for folder in folders
        for path in sorted(pathlib.Path(folder).rglob("*"))
        if path.is_file() and not _is_hidden(path.relative_to(folder))
    }
    if bad_images == "trust":
        kept = [path for path in files if path.suffix.lower() in _SUFFIXES]
    else:
        kept = usable([*files], _problem, skip=bad_images == "skip")
    found = {folder: [] for folder in folders}
    for path in kept:
        found[files[path]].append(path)
    for folder, some in found.items():
        if not some:
            raise ValueError(f"Expected images in {folder}. Received: none")
    return [*found.values()]


def common_size(files):
    """Returns `(height, width)` of images that are all of one size, else `None`.

    Reads their headers alone, up to the first that differs.
    """
    first = None
    for file in files:
        size = _size(file)
        first = first or size
        if size != first:
            return None
    return first


def _size(file):
    with Image.open(file) as image:
        size = image.size[::-1]
        # Only those of JPEGs are heeded, and stand in the header.
        if isinstance(image, JpegImagePlugin.JpegImageFile):
            lies = image.getexif().get(ExifTags.Base.Orientation) in (5, 6, 7, 8)
            return image.size if lies else size
        return size


def _is_hidden(path):
    return any(part.startswith(".") for part in path.parts)


def usable(files, problem_of, skip):
    """Tries files, several at a time, and returns those that are right.

    Args:
        files: List of paths, or of tuples of paths that belong together.
        problem_of: Function from one of them to what is wrong with it, or `None`.
        skip: Boolean, whether to leave out the others, with a warning that names them.

    Raises:
        ValueError: If there are others, and `skip` is false.
    """
    shown = len(files) >= _LONG and sys.stdout.isatty()
    progress = keras.utils.Progbar(len(files), verbose=int(shown))
    problems = {}
    with concurrent.futures.ThreadPoolExecutor() as pool:
        for file, problem in zip(files, pool.map(problem_of, files), strict=True):
            progress.add(1)
            if problem:
                problems[file] = problem
    if problems:
        named = [
            f"{file[0] if isinstance(file, tuple) else file} ({why})"
            for file, why in problems.items()
        ]
        rest = [f"and {len(named) - _NAMED} more"] * (len(named) > _NAMED)
        found = ", ".join(named[:_NAMED] + rest)
        found = f"{len(named)} of {len(files)} files: {found}"
        if not skip:
            raise ValueError(
                "Expected images only. Remove the others, or leave them out with "
                f"--bad_images=skip. Received: {found}"
            )
        logging.warning("Left out, because they are no images: %s", found)
    return [file for file in files if file not in problems]


def tried_once(problem_of):
    """Has a file, or a tuple of them, tried again only when it has changed."""

    @functools.cache
    def problem_at(file, states):
        return problem_of(file)

    @functools.wraps(problem_of)
    def problem(file):
        stats = [one.stat() for one in (file if isinstance(file, tuple) else (file,))]
        return problem_at(file, tuple((s.st_mtime_ns, s.st_size) for s in stats))

    return problem


@tried_once
def _problem(path):
    """Why a file is no image, or `None`."""
    if not path.stat().st_size:
        return "empty"
    try:
        with tf.device("CPU"):
            decode_file(str(path))
    except tf.errors.InvalidArgumentError as error:
        why = error.message.partition("[Op:")[0].rpartition("}}")[2].strip()
        return why[:100] or "cannot be decoded"
    return None
