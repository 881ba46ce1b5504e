"""Images in folders that are named after their classes, split or not."""

import itertools
import pathlib

import numpy as np

from examples.data.image_files import common_size, decode_file, find_images
from examples.data.splits import Source, in_memory

_SPLIT_FOLDERS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}


def open_folder(data_dir, bad_images="refuse"):
    """Opens a folder of labelled images as a `Source`.

    Args:
        data_dir: Directory of class folders, or of such directories that are named
            train, validation (or val) and test.
        bad_images: What to do with files that are no images, as in
            `examples.data.image_files.find_images`. Defaults to `"refuse"`.

    Raises:
        ValueError: If there is no such directory, class or image, or splits differ in
            their classes.
    """
    root = pathlib.Path(data_dir or "")
    if data_dir is None or not root.is_dir():
        raise ValueError(
            "Expected `data_dir` to be a directory of class folders of images "
            f"(class/image or split/class/image). Received: data_dir={data_dir}"
        )
    folders, left_out = _split_folders(root)
    names = _class_names(folders["train"])
    files = {
        split: _files_by_class(path, names, bad_images)
        for split, path in folders.items()
    }
    size = None
    if bad_images != "trust":  # It opens no file before the training does.
        every = itertools.chain.from_iterable(files.values())
        size = common_size(itertools.chain.from_iterable(every))
    return Source(
        name=root.resolve().name,
        splits={split: _split_of(found) for split, found in files.items()},
        image_shape=(*(size or (None, None)), 3),
        label_names=names,
        mirror=True,
        notes=tuple(f"Left out: the folder {path}." for path in left_out),
    )


def _split_folders(root):
    """The folder of each split, and a list of the folders beside them.

    One that is named as a split, but holds images alone, may be a class: a train.
    """
    named = {path: _SPLIT_FOLDERS.get(path.name.lower()) for path in _folders(root)}
    splits = [path for path, split in named.items() if split]
    if len(splits) < 2 and not any(_folders(path) for path in splits):
        return {"train": root}, []
    folders = {named[path]: path for path in splits}
    if "train" not in folders or len(folders) < len(splits):
        raise ValueError(
            "Expected one folder train of class folders, and at most one for each of "
            "validation (or val) and test. Received: "
            f"{root} with folders={[path.name for path in splits]}"
        )
    return folders, [path for path, split in named.items() if not split]


def _folders(path):
    """The folders in a folder, by name, without hidden ones."""
    return sorted(
        entry
        for entry in path.iterdir()
        if entry.is_dir() and not entry.name.startswith(".")
    )


def _class_names(path):
    names = [folder.name for folder in _folders(path)]
    if len(names) < 2:
        raise ValueError(
            "Expected two or more class folders of images in "
            f"{path}. Received: folders={names}"
        )
    return names


def _files_by_class(path, names, bad_images):
    if _class_names(path) != names:
        raise ValueError(
            f"Expected {path} to have the class folders of the training split, "
            f"{names}. Received: folders={_class_names(path)}"
        )
    return find_images([path / name for name in names], bad_images)


def _split_of(found):
    files = np.array([str(file) for files in found for file in files])
    labels = np.repeat(np.arange(len(found)), [len(files) for files in found])
    # In turns, so that the first images of the split are of every class.
    turns = np.concatenate([np.arange(len(files)) for files in found])
    order = np.lexsort((labels, turns))
    return in_memory(files[order], labels[order], decode_file)
