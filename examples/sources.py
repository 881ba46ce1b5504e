"""Where labelled images come from: bundled digits, class folders, TFDS.

A `Source` holds the splits of a data set undecoded. Folders are tried file by file when
they are opened, unless they are to be trusted.
"""

import difflib
import pathlib
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from examples.image_files import decode_file, find_images
from examples.splits import Split, labels_of, set_aside

# Data sets of written characters: a mirrored one is another or none.
CHARACTERS = {"digits", "mnist", "emnist", "kmnist", "svhn_cropped", "cmaterdb"}
_SPLIT_FOLDERS = {
    "train": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}


class Source(NamedTuple):
    """A labelled data set.

    Attributes:
        name: Name of the data set.
        splits: Dict of `Split`: `"train"`, `"test"` and, where the data set has one,
            `"validation"`.
        image_shape: `(height, width, channels)`; None where images differ in size.
        label_names: Names of the classes, by label.
        mirror: Whether a mirrored image keeps its label.
    """

    name: str
    splits: dict
    image_shape: tuple
    label_names: list
    mirror: bool


def open_source(dataset, data_dir=None, download=True, bad_images="refuse"):
    """Opens a data set by name.

    Args:
        dataset: `"digits"`, `"folder"` or the name of a TFDS image classification
            set.
        data_dir: Directory of the class folders, or of prepared TFDS data sets.
        download: Whether TFDS may download what `data_dir` doesn't hold. Defaults to
            `True`.
        bad_images: What to do with files of `"folder"` that are no images, as in
            `examples.image_files.find_images`. Defaults to `"refuse"`.

    Returns:
        A `Source` with a training and a test split. Where a data set has no test
        labels the validation split is the test split; where it has only training
        images a tenth of each class is set aside for each of the two, always the
        same images.

    Raises:
        ValueError: If the data set is unknown, empty, no image classification set or
            not there.
    """
    if dataset == "digits":
        return _digits()
    source = (
        _folder(data_dir, bad_images)
        if dataset == "folder"
        else _tfds(dataset, data_dir, download)
    )
    splits = dict(source.splits)
    if "test" not in splits and "validation" in splits:
        splits["test"] = splits.pop("validation")
    if "test" not in splits:
        splits = set_aside(splits["train"], len(source.label_names))
    return source._replace(splits=splits)


def _digits():
    from sklearn import datasets

    digits = datasets.load_digits()
    images = np.rint(digits.images[..., None] * (255 / 16)).astype("uint8")
    parts = {"train": [], "validation": [], "test": []}
    order = np.random.default_rng(0).permutation(len(images))
    for label in range(10):
        indices = order[digits.target[order] == label]
        parts["train"].extend(indices[:30])
        parts["validation"].extend(indices[30:50])
        parts["test"].extend(indices[50:])
    splits = {
        name: _in_memory(images[rows], digits.target[rows])
        for name, rows in parts.items()
    }
    names = [str(name) for name in digits.target_names]
    return Source("digits", splits, (32, 32, 1), names, mirror=False)


def _in_memory(records, labels, decode=lambda image: image):
    dataset = tf.data.Dataset.from_tensor_slices((records, labels.astype("int32")))
    return Split(dataset, decode, count=len(labels), shuffle_buffer=len(labels))


def _folder(data_dir, bad_images):
    root = pathlib.Path(data_dir or "")
    if data_dir is None or not root.is_dir():
        raise ValueError(
            "Expected `data_dir` to be a directory of class folders of images "
            f"(class/image or split/class/image). Received: data_dir={data_dir}"
        )
    folders = {"train": root}
    if (root / "train").is_dir():
        folders = {
            split: root / folder
            for folder, split in _SPLIT_FOLDERS.items()
            if (root / folder).is_dir()
        }
    names = _class_names(folders["train"])
    splits = {
        split: _class_folders(path, names, bad_images)
        for split, path in folders.items()
    }
    return Source(root.resolve().name, splits, (None, None, 3), names, mirror=True)


def _class_names(path):
    folders = [entry.name for entry in path.iterdir() if entry.is_dir()]
    names = sorted(name for name in folders if not name.startswith("."))
    if len(names) < 2:
        raise ValueError(
            "Expected two or more class folders of images in "
            f"{path}. Received: folders={names}"
        )
    return names


def _class_folders(path, names, bad_images):
    if _class_names(path) != names:
        raise ValueError(
            f"Expected {path} to have the class folders of the training split, "
            f"{names}. Received: folders={_class_names(path)}"
        )
    found = find_images([path / name for name in names], bad_images)
    files = np.array([str(file) for files in found for file in files])
    labels = np.repeat(np.arange(len(names)), [len(files) for files in found])
    # In turns, so that the first images of the split are of every class.
    turns = np.concatenate([np.arange(len(files)) for files in found])
    order = np.lexsort((labels, turns))
    return _in_memory(files[order], labels[order], decode_file)


def _tfds(dataset, data_dir, download):
    builder = prepared_builder(dataset, data_dir, download)
    features = builder.info.features
    if not {"image", "label"} <= set(features) or not hasattr(
        features["label"], "num_classes"
    ):
        raise ValueError(
            "Expected an image classification set with the features 'image' and "
            f"'label'. Received: dataset={dataset!r} with {sorted(features)}"
        )
    splits = {
        name: _tfds_split(builder, name)
        for name in ("train", "validation", "test")
        if name in builder.info.splits
    }
    if "train" not in splits:
        raise ValueError(
            "Expected a data set with a split 'train'. "
            f"Received: dataset={dataset!r} with {sorted(builder.info.splits)}"
        )
    # ImageNet's test split carries the label -1: it has no labels.
    labelled = {k: split for k, split in splits.items() if next(labels_of(split)) >= 0}
    shape, names = features["image"].shape, features["label"].names
    mirror = builder.name not in CHARACTERS
    return Source(builder.name, labelled, shape, names, mirror)


def prepared_builder(dataset, data_dir, download):
    """Returns the builder of a TFDS data set that is there, or now downloaded."""
    builder = _tfds_builder(dataset, data_dir)
    if download:
        builder.download_and_prepare()
    elif not builder.is_prepared():
        raise ValueError(
            f"The data set isn't prepared in {builder.data_path}. Set `data_dir` to "
            "where it is, or `download=True` to download it. "
            f"Received: dataset={dataset!r}, data_dir={data_dir}, download=False"
        )
    return builder


def _tfds_builder(dataset, data_dir):
    import tensorflow_datasets as tfds

    try:
        return tfds.builder(dataset, data_dir=data_dir)
    except tfds.core.DatasetNotFoundError as error:
        known = ["digits", "folder", *tfds.list_builders()]
        raise ValueError(
            "Expected `dataset` to be 'digits', 'folder' or a TFDS data set. The "
            f"closest names: {difflib.get_close_matches(dataset, known)}. "
            f"Received: dataset={dataset!r}, data_dir={data_dir}"
        ) from error


def _tfds_split(builder, name):
    import tensorflow_datasets as tfds

    dataset = builder.as_dataset(
        split=name,
        decoders={"image": tfds.decode.SkipDecoding()},
        # One file after the other, so that "the first images" means the same
        # on every machine.
        read_config=tfds.ReadConfig(interleave_cycle_length=1),
    )
    records = dataset.map(
        lambda example: (example["image"], tf.cast(example["label"], tf.int32))
    )
    decode = builder.info.features["image"].decode_example
    return Split(records, decode, builder.info.splits[name].num_examples, 2048)
