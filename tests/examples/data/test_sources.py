import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from sklearn import datasets

from examples.data import sources
from examples.data.sources import open_source
from examples.data.splits import labels_of, read_arrays


def counts_by_class(split):
    return np.bincount(list(labels_of(split))).tolist()


def test_digits_split_is_stratified():
    source = open_source("digits")
    assert list(source.splits) == ["train", "validation", "test"]
    assert counts_by_class(source.splits["train"]) == [30] * 10
    assert counts_by_class(source.splits["validation"]) == [20] * 10
    assert source.splits["test"].count == 1297
    assert source.label_names == [str(digit) for digit in range(10)]
    assert source.image_shape == (32, 32, 1)
    assert not source.mirror


def test_digits_are_all_there_once():
    source = open_source("digits")
    images = [read_arrays(split, (8, 8, 1))[0] for split in source.splits.values()]
    images = np.concatenate(images).reshape(1797, 64)
    expected = np.rint(datasets.load_digits().data * 255 / 16)
    assert sorted(images.tolist()) == sorted(expected.astype(int).tolist())


def test_digits_keep_their_labels():
    digits = datasets.load_digits()
    label_of = {
        image.astype(int).tobytes(): label
        for image, label in zip(digits.data, digits.target, strict=True)
    }
    images, labels = read_arrays(open_source("digits").splits["train"], (8, 8, 1))
    levels = np.rint(images.reshape(300, 64) * (16 / 255)).astype(int)
    assert [label_of[image.tobytes()] for image in levels] == labels.tolist()


def test_folder_with_splits(class_folders):
    root = class_folders("pets/train", {"cat": 5, "dog": 3})
    class_folders("pets/val", {"cat": 1, "dog": 2})
    class_folders("pets/test", {"cat": 2, "dog": 2})
    source = open_source("folder", root.parent)
    assert source.name == "pets"
    assert source.label_names == ["cat", "dog"]
    counts = {name: counts_by_class(split) for name, split in source.splits.items()}
    assert counts == {"train": [5, 3], "validation": [1, 2], "test": [2, 2]}


def test_folder_order_takes_the_classes_in_turns(class_folders):
    root = class_folders("pets/train", {"cat": 4, "dog": 2})
    class_folders("pets/test", {"cat": 1, "dog": 1})
    split = open_source("folder", root.parent).splits["train"]
    images, labels = read_arrays(split, (12, 16, 3))
    assert labels.tolist() == [0, 1, 0, 1, 0, 0]
    # The grey level is the number in the file's name.
    assert images[:, 0, 0, 0].tolist() == [0, 0, 1, 1, 2, 3]


def test_folder_without_test_tests_on_validation(class_folders):
    root = class_folders("pets/train", {"cat": 2, "dog": 2})
    class_folders("pets/validation", {"cat": 1, "dog": 1})
    source = open_source("folder", root.parent)
    assert list(source.splits) == ["train", "test"]
    assert "validation images are tested on" in source.notes[-1]


def test_folder_without_splits_is_divided_by_class(class_folders):
    root = class_folders("pets", {"cat": 20, "dog": 30})
    source = open_source("folder", root)
    counts = {name: counts_by_class(split) for name, split in source.splits.items()}
    assert counts == {"train": [16, 24], "validation": [2, 3], "test": [2, 3]}


def test_shares_of_a_folder_without_splits(class_folders):
    root = class_folders("pets", {"cat": 20, "dog": 30})
    source = open_source("folder", root, validation_share=0, test_share=0.5)
    counts = {name: counts_by_class(split) for name, split in source.splits.items()}
    assert counts == {"train": [10, 15], "test": [10, 15]}
    assert "--test_share" in source.notes[-1]


def test_shares_are_refused_where_there_are_splits():
    with pytest.raises(ValueError, match=r"alone. Received: digits.*'test_share': 0.2"):
        open_source("digits", test_share=0.2)


@pytest.mark.parametrize("data_dir", [None, "does/not/exist"])
def test_missing_directory_is_named(data_dir):
    with pytest.raises(
        ValueError, match=f"`data_dir` to be a dir.*data_dir={data_dir}"
    ):
        open_source("folder", data_dir)


def test_empty_directory_is_named(tmp_path):
    with pytest.raises(ValueError, match=rf"class folders.*{tmp_path}.*folders=\[\]"):
        open_source("folder", tmp_path)


def test_directory_without_images_is_named(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
    with pytest.raises(ValueError, match=f"Expected images in {tmp_path}/cat"):
        open_source("folder", tmp_path)


def test_splits_must_have_the_same_classes(class_folders):
    root = class_folders("pets/train", {"cat": 2, "dog": 2})
    class_folders("pets/test", {"cat": 1, "cow": 1})
    with pytest.raises(
        ValueError, match=r"test to have.*'dog'.*folders=\['cat', 'cow'"
    ):
        open_source("folder", root.parent)


def test_unreadable_image_is_named(class_folders):
    root = class_folders("pets", {"cat": 20, "dog": 20})
    for name in ("cat", "dog"):
        for file in (root / name).iterdir():
            file.write_bytes(b"no image")
    train = open_source("folder", root, bad_images="trust").splits["train"]
    with pytest.raises(
        ValueError, match=r"can be decoded. Received: image 0 .*\d\d.png"
    ):
        read_arrays(train, (8, 8, 3))


def test_tfds_reads_a_prepared_directory(prepared_tfds):
    data_dir, arrays = prepared_tfds(train=9, test=6)
    source = open_source("shapes", data_dir, download=False)
    assert (source.name, source.image_shape) == ("shapes", (12, 12, 3))
    assert source.label_names == ["0", "1", "2"]
    assert source.mirror
    for name in ("train", "test"):
        images, labels = read_arrays(source.splits[name], (12, 12, 3))
        np.testing.assert_array_equal(images, arrays[name]["image"])
        np.testing.assert_array_equal(labels, arrays[name]["label"])


def test_another_feature_can_be_the_label(prepared_tfds):
    data_dir, _ = prepared_tfds(train=8, test=6)
    options = {"data_dir": data_dir, "download": False}
    source = open_source("shapes", **options, label_key="odd")
    assert source.label_names == ["no", "yes"]
    _, labels = read_arrays(source.splits["train"], (12, 12, 3))
    np.testing.assert_array_equal(labels, np.arange(8) % 2)
    with pytest.raises(ValueError, match=r"'image' and 'even'.*\['image', 'label'"):
        open_source("shapes", **options, label_key="even")


def test_error_label_key_of_what_has_no_features():
    with pytest.raises(ValueError, match=r"TFDS data set.*dataset='digits'"):
        open_source("digits", label_key="odd")


def test_tfds_with_only_training_images_is_divided(prepared_tfds):
    data_dir, _ = prepared_tfds(train=60)
    source = open_source("shapes", data_dir, download=False)
    counts = {name: counts_by_class(split) for name, split in source.splits.items()}
    assert counts == {"train": [16] * 3, "validation": [2] * 3, "test": [2] * 3}


@pytest.mark.parametrize("test", [{}, {"test": 4, "unlabelled": ("test",)}])
def test_tfds_without_test_labels_tests_on_validation(prepared_tfds, test):
    data_dir, arrays = prepared_tfds(train=6, validation=3, **test)
    source = open_source("shapes", data_dir, download=False)
    assert list(source.splits) == ["train", "test"]
    images, _ = read_arrays(source.splits["test"], (12, 12, 3))
    np.testing.assert_array_equal(images, arrays["validation"]["image"])


def test_tfds_set_of_characters_is_not_mirrored(prepared_tfds, monkeypatch):
    assert {"mnist", "svhn_cropped"} <= sources.CHARACTERS
    monkeypatch.setattr(sources, "CHARACTERS", {"shapes"})
    data_dir, _ = prepared_tfds(train=6, test=3)
    assert not open_source("shapes", data_dir, download=False).mirror


def test_tfds_set_without_labels_is_refused(tmp_path):
    tfds.dataset_builders.store_as_tfds_dataset(
        name="scenes",
        version="1.0.0",
        data_dir=str(tmp_path),
        features=tfds.features.FeaturesDict({"image": tfds.features.Image()}),
        split_datasets={
            "train": tf.data.Dataset.from_tensors(
                {"image": tf.zeros((4, 4, 3), tf.uint8)}
            )
        },
        config=None,
    )
    match = r"features 'image' and 'label'.*dataset='scenes' with \['image'\]"
    with pytest.raises(ValueError, match=match):
        open_source("scenes", tmp_path, download=False)


def test_tfds_set_that_is_not_prepared_names_the_remedy(tmp_path):
    with pytest.raises(
        ValueError, match=f"(?s)prepared in {tmp_path}.*`download=True`"
    ):
        open_source("cifar100", tmp_path, download=False)


def test_unknown_name_names_the_closest(tmp_path):
    with pytest.raises(
        ValueError, match=r"closest names.*'cifar100'.*dataset='cifra100'"
    ):
        open_source("cifra100", tmp_path, download=False)


def test_tfds_set_without_training_split_is_refused(prepared_tfds):
    data_dir, _ = prepared_tfds(test=6)
    with pytest.raises(ValueError, match=r"a split 'train'.*'shapes' with \['test'\]"):
        open_source("shapes", data_dir, download=False)
