import itertools

import numpy as np
import pytest
import tensorflow as tf

from examples.data import splits
from examples.data.splits import Split


def split_of(labels, images=None):
    labels = np.array(labels, "int32")
    images = np.arange(len(labels)) if images is None else images
    records = tf.data.Dataset.from_tensor_slices((images, labels))
    return Split(records, lambda image: image, len(labels), shuffle_buffer=4)


def positions(split):
    return [int(record) for record, _ in split.records]


def test_labels_in_file_order():
    assert list(splits.labels_of(split_of([2, 0, 1, 1]))) == [2, 0, 1, 1]


def test_select_keeps_file_order():
    split = splits.select(split_of([0, 1, 2, 3, 4]), [4, 1, 2])
    assert positions(split) == [1, 2, 4]
    assert list(splits.labels_of(split)) == [1, 2, 4]
    assert split.count == 3


def test_select_of_a_selection():
    split = splits.select(split_of(range(10)), [1, 3, 5, 7])
    assert positions(splits.select(split, [0, 3])) == [1, 7]


def test_select_nothing():
    assert positions(splits.select(split_of([0, 1]), [])) == []


def test_positions_by_class():
    split = split_of([1, 0, 1, 1, 0, 2])
    assert splits.positions_by_class(split, 4) == [[1, 4], [0, 2, 3], [5], []]
    assert splits.positions_by_class(split, 3, limit=2) == [[1, 4], [0, 2], [5]]


def test_positions_by_class_stops_when_every_class_is_full():
    def labels():
        yield from [0, 1, 1, 0]
        raise AssertionError("read on although both classes were full")

    spec = tf.TensorSpec((), tf.int32)
    endless = tf.data.Dataset.from_generator(labels, output_signature=spec)
    split = split_of([0])._replace(records=endless.map(lambda label: (label, label)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(splits, "_LABEL_BATCH", 4)
        assert splits.positions_by_class(split, 2, limit=2) == [[0, 3], [1, 2]]


def test_set_aside_is_stratified_disjoint_and_fixed():
    labels = [0] * 40 + [1] * 20 + [2] * 3
    parts = splits.set_aside(split_of(labels), "abc")
    counts = {k: np.bincount(list(splits.labels_of(parts[k]))).tolist() for k in parts}
    assert counts == {"train": [32, 16, 1], "validation": [4, 2, 1], "test": [4, 2, 1]}
    kept = {name: positions(part) for name, part in parts.items()}
    assert sorted(itertools.chain(*kept.values())) == list(range(63))
    again = splits.set_aside(split_of(labels), "abc")
    assert kept == {name: positions(part) for name, part in again.items()}
    assert kept["test"] != list(range(4))  # drawn, not the first ones


def test_set_aside_by_other_shares():
    split = split_of([0] * 100 + [1] * 4)
    # 0.29 * 100 is 28.999... in floating point.
    parts = splits.set_aside(split, "ab", validation_share=0.29, test_share=0.5)
    counts = {k: np.bincount(list(splits.labels_of(parts[k]))).tolist() for k in parts}
    assert counts == {"train": [21, 1], "validation": [29, 1], "test": [50, 2]}
    assert list(splits.set_aside(split, "ab", validation_share=0)) == ["train", "test"]


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ({}, "class 'b' with 2 images, 1 of them to validate on and 1 to test on"),
        ({"test_share": 0}, "`test_share` above 0.*test_share=0"),
        ({"validation_share": 0.6, "test_share": 0.4}, "together below 1.*=0.6"),
        ({"validation_share": -0.1}, "at least 0.*validation_share=-0.1"),
    ],
)
def test_error_shares_must_leave_training_images(shares, message):
    with pytest.raises(ValueError, match=message):
        splits.set_aside(split_of([0] * 20 + [1] * 2), "ab", **shares)


def test_read_arrays_in_order():
    images = np.random.default_rng(0).integers(0, 256, (600, 4, 5, 3), "uint8")
    labels = np.arange(600) % 7
    read_images, read_labels = splits.read_arrays(split_of(labels, images), (4, 5, 3))
    np.testing.assert_array_equal(read_images, images)
    np.testing.assert_array_equal(read_labels, labels)
    assert (read_images.dtype, read_labels.dtype) == ("uint8", "int32")


def test_resize_doubles_bilinearly():
    row = tf.constant([[[0], [100]]], tf.uint8)
    resized = splits.resizer((1, 4, 1))(tf.repeat(row, 2, axis=0))
    np.testing.assert_array_equal(resized[0, :, 0], [0, 25, 75, 100])


def test_resize_halves_with_antialias():
    # Stripes of one pixel: picking every second column would give 0 or 255 only.
    stripes = np.tile(np.array([0, 255], "uint8"), (32, 16))[..., None]
    resized = splits.resizer((16, 16, 1))(tf.constant(stripes)).numpy()
    assert np.all(np.abs(resized[:, 2:-2].astype(int) - 127) < 40)


def test_resize_cuts_the_longer_side_evenly():
    image = np.zeros((4, 12, 1), "uint8")
    image[:, 4:8] = 200
    resized = splits.resizer((4, 4, 1))(tf.constant(image))
    np.testing.assert_array_equal(resized, np.full((4, 4, 1), 200))


def test_images_of_the_right_size_stay_as_they_are():
    image = tf.constant(np.random.default_rng(0).integers(0, 256, (6, 6, 3), "uint8"))
    np.testing.assert_array_equal(splits.resizer((6, 6, 3))(image), image)
