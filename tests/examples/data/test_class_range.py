import numpy as np
import pytest

from examples.data.class_range import of_classes
from examples.data.prepared import load_data
from examples.data.sources import open_source
from examples.data.splits import labels_of, read_arrays


def test_classes_are_renumbered_and_keep_names_and_images():
    whole = open_source("digits")
    part = of_classes(whole, 7, 10)
    assert part.label_names == ["7", "8", "9"]
    assert part.splits.keys() == whole.splits.keys()
    assert "those from 7 up to 9 (--classes)" in part.notes[-1]
    for name, split in part.splits.items():
        images, labels = read_arrays(whole.splits[name], (32, 32, 1))
        kept, renumbered = read_arrays(split, (32, 32, 1))
        np.testing.assert_array_equal(kept, images[labels >= 7])
        np.testing.assert_array_equal(renumbered, labels[labels >= 7] - 7)
        assert split.count == len(kept)


def test_of_a_tfds_set_the_first_images_of_each_class(prepared_tfds):
    data_dir, arrays = prepared_tfds(classes=4, train=40, test=8)
    data = load_data(
        "shapes",
        data_dir,
        classes=(1, 3),
        train_per_class=4,
        batch_size=8,
        augment=False,
    )
    assert data.examples == {"train": 8, "test": 4}
    assert (data.classes, data.label_names) == (2, ["1", "2"])
    images, labels = next(iter(data.train()))
    seen = np.rint(images * data.std + data.mean).astype(int)
    assert sorted(labels.numpy().tolist()) == [0] * 4 + [1] * 4
    theirs = arrays["train"]["image"]
    for image, label in zip(seen, labels.numpy(), strict=True):
        of_class = theirs[label + 1 :: 4][:4]
        assert any(np.array_equal(image, one) for one in of_class)


@pytest.mark.parametrize(("first", "end"), [(0, 11), (3, 3), (5, 6), (7, 2), (10, 12)])
def test_error_no_such_classes(first, end):
    with pytest.raises(
        ValueError, match=rf"10 classes of digits.*such as 0:10\. .*s={first}:{end}$"
    ):
        of_classes(open_source("digits"), first, end)


def test_error_a_split_without_these_classes(class_folders):
    folders = {"cat": 2, "cow": 2, "dog": 2}
    root = class_folders("pets/train", folders)
    class_folders("pets/test", folders)
    source = open_source("folder", root.parent)
    one = source.splits["test"]
    source.splits["test"] = one._replace(
        records=one.records.filter(lambda record, label: label == 0), count=2
    )
    with pytest.raises(ValueError, match=r"classes 1 to 2 in all.*none in test"):
        of_classes(source, 1, 3)
    assert set(labels_of(of_classes(source, 0, 2).splits["test"])) == {0}
