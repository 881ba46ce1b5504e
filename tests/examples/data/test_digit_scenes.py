import numpy as np
import pytest

from examples.data.digit_scenes import NAMES, VOID, _digits_of, digit_scenes

SPLITS = pytest.mark.parametrize("split", ["train", "validation", "test"])


@SPLITS
def test_masks_hold_ground_digits_and_void(split):
    images, masks = digit_scenes(split)
    assert images.dtype == masks.dtype == np.uint8
    assert images.shape == (*masks.shape, 1)
    assert set(np.unique(masks)) == {*range(len(NAMES)), VOID}
    digits = (masks > 0) & (masks != VOID)
    assert 0.03 < digits.mean() < 0.3
    assert images[..., 0][digits].mean() > 1.5 * images[..., 0][masks == 0].mean()


@SPLITS
def test_strokes_have_void_borders(split):
    _, masks = digit_scenes(split)
    digits = (masks > 0) & (masks != VOID)
    for axis in (1, 2):
        here = np.take(masks, range(63), axis)
        there = np.take(masks, range(1, 64), axis)
        is_digit = np.take(digits, range(63), axis)
        assert not np.any(is_digit & (there == 0))
        assert not np.any((here == 0) & np.take(digits, range(1, 64), axis))


def test_scenes_are_always_the_same():
    for one, other in zip(digit_scenes("test"), digit_scenes("test"), strict=True):
        np.testing.assert_array_equal(one, other)


def test_no_digit_image_is_in_two_splits():
    from sklearn import datasets

    images = [
        {image.tobytes() for digits in _digits_of(split) for image in digits}
        for split in ("train", "validation", "test")
    ]
    assert sum(map(len, images)) == len(set.union(*images))
    every = {image.tobytes() for image in datasets.load_digits().images / 16}
    assert set.union(*images) == every
