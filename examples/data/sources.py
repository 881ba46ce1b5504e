"""Where labelled images come from: bundled digits, class folders, TFDS.

A `Source` holds the splits of a data set undecoded.
"""

import difflib

import numpy as np
import tensorflow as tf

from examples.data.class_folders import open_folder
from examples.data.splits import Source, Split, in_memory, labels_of, set_aside

# Data sets of written characters: a mirrored one is another or none.
CHARACTERS = {"digits", "mnist", "emnist", "kmnist", "svhn_cropped", "cmaterdb"}


def open_source(
    dataset,
    data_dir=None,
    download=True,
    bad_images="refuse",
    validation_share=None,
    test_share=None,
    label_key=None,
):
    """Opens a data set by name.

    Args:
        dataset: `"digits"`, `"folder"` or the name of a TFDS image classification
            set.
        data_dir: Directory of the class folders, or of prepared TFDS data sets.
        download: Whether TFDS may download what `data_dir` doesn't hold. Defaults to
            `True`.
        bad_images: What to do with files of `"folder"` that are no images, as in
            `examples.data.image_files.find_images`. Defaults to `"refuse"`.
        validation_share: Share of each class to validate on, where there are training
            images only. Defaults to `None`, a tenth.
        test_share: Likewise the share to test on. Defaults to `None`, a tenth.
        label_key: Feature of a TFDS set that is the label, such as `"coarse_label"`.
            Defaults to `None`, `"label"`.

    Returns:
        A `Source` with a training and a test split. Where a data set has no test
        labels the validation split is the test split; where it has only training
        images parts of each class are set aside, always the same images.

    Raises:
        ValueError: If the data set is unknown, empty, no image classification set or
            not there, or if shares are given that it has no use for.
    """
    if label_key and dataset in ("digits", "folder"):
        raise ValueError(
            "Expected `label_key` for a TFDS data set. "
            f"Received: dataset={dataset!r}, label_key={label_key!r}"
        )
    if dataset == "digits":
        source = _digits()
    elif dataset == "folder":
        source = open_folder(data_dir, bad_images)
    else:
        source = _tfds(dataset, data_dir, download, label_key or "label")
    given = {"validation_share": validation_share, "test_share": test_share}
    given = {name: share for name, share in given.items() if share is not None}
    if source.splits.keys() == {"train"}:
        return _divided(source, **given)
    if given:
        raise ValueError(
            "Expected `validation_share` and `test_share` for training images alone. "
            f"Received: {source.name} with {sorted(source.splits)}, {given}"
        )
    if "test" in source.splits:
        return source
    splits = dict(source.splits)
    splits["test"] = splits.pop("validation")
    note = "There are no test images: the validation images are tested on instead."
    return source._replace(splits=splits, notes=(*source.notes, note))


def _divided(source, **shares):
    splits = set_aside(source.splits["train"], source.label_names, **shares)
    note = (
        "There are training images only: of each class a part is set aside, the same "
        "images in every run (--validation_share, --test_share)."
    )
    return source._replace(splits=splits, notes=(*source.notes, note))


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
        name: in_memory(images[rows], digits.target[rows])
        for name, rows in parts.items()
    }
    names = [str(name) for name in digits.target_names]
    return Source("digits", splits, (32, 32, 1), names, mirror=False)


def _tfds(dataset, data_dir, download, label_key):
    builder = prepared_builder(dataset, data_dir, download)
    features = builder.info.features
    if not {"image", label_key} <= set(features) or not hasattr(
        features[label_key], "num_classes"
    ):
        raise ValueError(
            "Expected an image classification set with the features 'image' and "
            f"{label_key!r}. Received: dataset={dataset!r} with {sorted(features)}"
        )
    splits = {
        name: _tfds_split(builder, name, label_key)
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
    shape, names = features["image"].shape, features[label_key].names
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


def _tfds_split(builder, name, label_key):
    import tensorflow_datasets as tfds

    dataset = builder.as_dataset(
        split=name,
        decoders={"image": tfds.decode.SkipDecoding()},
        # One file after the other, so that "the first images" means the same
        # on every machine.
        read_config=tfds.ReadConfig(interleave_cycle_length=1),
    )
    records = dataset.map(
        lambda example: (example["image"], tf.cast(example[label_key], tf.int32))
    )
    decode = builder.info.features["image"].decode_example
    return Split(records, decode, builder.info.splits[name].num_examples, 2048)
