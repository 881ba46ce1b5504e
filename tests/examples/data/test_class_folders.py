import pytest

from examples.data.class_folders import open_folder


@pytest.mark.parametrize("names", [("Train", "TEST"), ("training", "testing")])
def test_folders_of_splits_by_any_usual_name(class_folders, names):
    for name, count in zip(names, (3, 2), strict=True):
        root = class_folders(f"pets/{name}", {"cat": count, "dog": count}).parent
    (root / "raw").mkdir()
    source = open_folder(root)
    counts = {split: source.splits[split].count for split in source.splits}
    assert counts == {"train": 6, "test": 4}
    assert source.notes == (f"Left out: the folder {root / 'raw'}.",)


def test_a_class_may_be_named_as_a_split(class_folders):
    root = class_folders("vehicles", {"bus": 1, "car": 1, "train": 1})
    assert open_folder(root).label_names == ["bus", "car", "train"]


@pytest.mark.parametrize(
    "folders",
    [["val", "test"], ["train", "val", "validation"], ["test", "raw"]],
)
def test_error_splits_that_are_not_one_each(class_folders, folders):
    for folder in folders:
        root = class_folders(f"pets/{folder}", {"cat": 1, "dog": 1}).parent
    splits = sorted({*folders} - {"raw"})
    with pytest.raises(ValueError, match=r"one folder train.*Received") as error:
        open_folder(root)
    assert str(error.value).endswith(f"folders={splits}")


def test_error_split_folders_of_images_alone(class_folders):
    root = class_folders("pets", {"train": 2, "test": 2})
    with pytest.raises(ValueError, match=r"class folders of images in .*train"):
        open_folder(root)


def test_size_is_that_of_all_images(class_folders):
    root = class_folders("pets/train", {"cat": 2, "dog": 2}).parent
    assert open_folder(root).image_shape == (12, 16, 3)
    assert open_folder(root, "trust").image_shape == (None, None, 3)
    class_folders("pets/test", {"cat": 1, "dog": 1}, size=(16, 12))
    assert open_folder(root).image_shape == (None, None, 3)
