import numpy as np
import pytest

from examples.data.mask_labels import number_classes


def numbered(masks, **arguments):
    labels, names, void = number_classes({"train": masks}, **arguments)
    return labels["train"].tolist(), names, void


@pytest.mark.parametrize("dtype", ["uint8", "int32"])
@pytest.mark.parametrize(
    ("values", "masks", "labels"),
    [
        ([0, 255], [0, 255, 0], [0, 1, 0]),
        ([255, 0], [0, 255, 0], [1, 0, 1]),
        ([0, 1], [0, 1, 1], [0, 1, 1]),
        ([1, 2], [1, 2, 1], [0, 1, 0]),
        ([0, 127, 255], [255, 127, 0], [2, 1, 0]),
    ],
)
def test_values_are_classes_in_their_order(dtype, values, masks, labels):
    found = numbered(np.array(masks, dtype), mask_values=values)
    assert found == (labels, [str(value) for value in values], 255)


def test_values_beyond_a_byte():
    masks = np.array([0, 65535, 255], "int32")
    found = numbered(masks, mask_values=[0, 65535], void=255, label_names=["a", "b"])
    assert found == ([0, 1, 255], ["a", "b"], 255)


@pytest.mark.parametrize("dtype", ["uint8", "int32"])
def test_numbers_are_the_classes_up_to_the_largest(dtype):
    found = numbered(np.array([0, 1, 3, 11], dtype), void=11)
    assert found == ([0, 1, 3, 11], ["0", "1", "2", "3"], 11)


def test_without_void_all_pixels_count():
    assert numbered(np.array([0, 1], "uint8"), void="none") == ([0, 1], ["0", "1"], 255)


def test_256_classes_of_bytes():
    """The names of 256 classes once wrapped to none: "labels from 0 to -1"."""
    masks = np.arange(256).astype("uint8")
    names = [str(label) for label in range(256)]
    assert numbered(masks, void=256) == (masks.tolist(), names, 256)


@pytest.mark.parametrize(
    ("masks", "arguments", "message"),
    [
        ([0, 255], {}, "--mask_values=0,255. Received: .* of which 255 is void"),
        ([0, 0], {}, "at least two classes"),
        ([255, 255], {"mask_values": [0, 255]}, "at least two classes"),
        ([0, 255], {"void": "none"}, "say so by --mask_values=0,255"),
        ([0, 127, 255], {}, "say so by --mask_values=0,127; else name all 128"),
        ([0, 1, 255], {"void": "none", "label_names": "ab"}, r"labels \[255\]"),
        ([0, 1, 2], {"mask_values": [0, 1]}, "values in between. Received: .* hold 2,"),
        ([0, 1], {"mask_values": [0, 0]}, "each once"),
        ([0, 1], {"mask_values": [1]}, "at least two classes"),
        ([0, 1], {"mask_values": [0, 1], "void": 1}, "none of them --void"),
        ([0, 1], {"mask_values": [0, 1], "label_offset": -1}, "without --label_offset"),
        ([0, 1], {"mask_values": [0, 1], "label_names": "abc"}, "for each of them"),
    ],
)
def test_error_masks(masks, arguments, message):
    with pytest.raises(ValueError, match=message):
        numbered(np.array(masks, "uint8"), **arguments)


def test_error_labels_of_another_split():
    masks = {"train": np.array([0, 1]), "test": np.array([0, 2])}
    with pytest.raises(ValueError, match=r"split 'test' with labels \[2\]"):
        number_classes(masks)
