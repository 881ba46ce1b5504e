"""Small data sets on disk, in the forms in which users have theirs."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image


@pytest.fixture
def class_folders(tmp_path):
    """Writes class folders of PNG files, the image's number in its grey level."""

    def write(folder, counts, size=(12, 16)):
        for name, count in counts.items():
            path = tmp_path / folder / name
            path.mkdir(parents=True)
            for number in range(count):
                pixels = np.full((*size, 3), number, "uint8")
                Image.fromarray(pixels).save(path / f"{number:02d}.png")
        return tmp_path / folder

    return write


@pytest.fixture
def prepared_tfds(tmp_path):
    """Prepares the TFDS set `shapes`: random images `(12, 12, 3)`, cycling labels."""

    def prepare(classes=3, unlabelled=(), **splits):
        generator = np.random.default_rng(0)
        features = {
            "image": tfds.features.Image(shape=(12, 12, 3)),
            "label": tfds.features.ClassLabel(num_classes=classes),
            "odd": tfds.features.ClassLabel(names=["no", "yes"]),
        }
        arrays = {
            split: {
                "image": generator.integers(0, 256, (count, 12, 12, 3), "uint8"),
                "label": np.full(count, -1)
                if split in unlabelled
                else np.arange(count) % classes,
                "odd": np.arange(count) % 2,
            }
            for split, count in splits.items()
        }
        tfds.dataset_builders.store_as_tfds_dataset(
            name="shapes",
            version="1.0.0",
            data_dir=str(tmp_path),
            features=tfds.features.FeaturesDict(features),
            split_datasets={
                split: tf.data.Dataset.from_tensor_slices(examples)
                for split, examples in arrays.items()
            },
            config=None,
            disable_shuffling=True,
        )
        return tmp_path, arrays

    return prepare
