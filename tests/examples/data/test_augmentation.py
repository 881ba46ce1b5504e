import numpy as np
import tensorflow as tf

from examples.data.augmentation import (
    Crops,
    apply_crops,
    apply_windows,
    draw_crops,
    draw_windows,
    random_resized_crop,
)


def test_crops_by_hand():
    image = np.array([[1, 2], [3, 4]], "uint8")[None, :, :, None]
    images = np.repeat(image, 4, axis=0)
    crops = Crops(
        top=tf.constant([1, 0, 2, 1]),
        left=tf.constant([1, 0, 1, 1]),
        mirrored=tf.constant([False, False, False, True]),
    )
    cut = apply_crops(images, crops, padding=1)[..., 0]
    expected = [
        [[1, 2], [3, 4]],  # the image itself
        [[0, 0], [0, 1]],
        [[3, 4], [0, 0]],
        [[2, 1], [4, 3]],
    ]
    np.testing.assert_array_equal(cut, expected)


def test_crops_restated_in_numpy():
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (16, 6, 9, 3), "uint8")
    crops = draw_crops(tf.constant([1, 2], tf.int64), 16, padding=2, mirror=True)
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)))
    for image, row, column, mirrored, cut in zip(
        padded, *map(np.array, crops), apply_crops(images, crops, 2), strict=True
    ):
        crop = image[row : row + 6, column : column + 9]
        np.testing.assert_array_equal(cut, crop[:, ::-1] if mirrored else crop)


def test_draws_cover_every_place_evenly():
    crops = draw_crops(tf.constant([3, 4], tf.int64), 9000, padding=4, mirror=True)
    for place in (crops.top, crops.left):
        counts = np.bincount(place, minlength=9)
        assert len(counts) == 9
        np.testing.assert_allclose(counts / 9000, 1 / 9, atol=0.015)
    assert abs(np.mean(crops.mirrored) - 0.5) < 0.03
    # The three draws are independent of each other.
    correlation = np.corrcoef([np.array(draw, float) for draw in crops])
    np.testing.assert_allclose(correlation, np.eye(3), atol=0.05)


def test_draws_depend_on_the_seed_only():
    def draw(*seed):
        crops = draw_crops(tf.constant(seed, tf.int64), 50, padding=4, mirror=True)
        return np.stack([np.array(part, int) for part in crops])

    np.testing.assert_array_equal(draw(1, 2), draw(1, 2))
    assert not np.array_equal(draw(1, 2), draw(1, 3))
    assert not np.array_equal(draw(1, 2), draw(2, 2))


def test_mirror_can_be_left_out():
    crops = draw_crops(tf.constant([1, 2], tf.int64), 100, padding=4, mirror=False)
    assert not np.any(crops.mirrored)


def test_resized_crops_are_parts_of_the_image():
    # Rows and columns are ramps, so that a crop shows where it was cut.
    rows, columns = np.meshgrid(np.arange(60), np.arange(80), indexing="ij")
    image = tf.constant(np.stack([rows, columns, rows * 0 + 7], -1).astype("uint8"))
    shares = []
    for number in range(40):
        seed = tf.constant([number, 0], tf.int64)
        crop = random_resized_crop(image, (24, 24, 3), seed, mirror=False).numpy()
        assert crop.shape == (24, 24, 3)
        np.testing.assert_allclose(crop[..., 2], 7, rtol=1e-5)
        assert np.all(np.diff(crop[:, 0, 0]) > 0)
        assert np.all(np.diff(crop[0, :, 1]) > 0)
        height, width = np.ptp(crop[..., 0]) + 1, np.ptp(crop[..., 1]) + 1
        shares.append(height * width / (60 * 80))
    assert min(shares) > 0.05
    assert max(shares) > 0.6


def test_resized_crops_are_mirrored_half_of_the_time():
    image = tf.tile(tf.range(32, dtype=tf.int32)[None, :, None], (32, 1, 1))
    image = tf.cast(image, tf.uint8)
    crops = [
        random_resized_crop(
            image, (8, 8, 1), tf.constant([n, 5], tf.int64), mirror=True
        )
        for n in range(60)
    ]
    mirrored = [bool(crop[0, 0, 0] > crop[0, -1, 0]) for crop in crops]
    assert 15 < sum(mirrored) < 45


def test_a_window_of_the_whole_image_changes_nothing():
    images = np.random.default_rng(0).integers(0, 256, (2, 5, 7, 3), "uint8")
    masks = np.random.default_rng(1).integers(0, 9, (2, 5, 7)).astype("int32")
    boxes = tf.constant([[0.0, 0.0, 1.0, 1.0], [0.0, 1.0, 1.0, 0.0]])
    fill = np.array([9.0, 9.0, 9.0], "float32")
    found, labels = apply_windows(images, masks, boxes, 255, fill)
    np.testing.assert_allclose(found[0], images[0], atol=1e-3)
    np.testing.assert_array_equal(labels[0], masks[0])
    np.testing.assert_allclose(found[1], images[1, :, ::-1], atol=1e-3)
    np.testing.assert_array_equal(labels[1], masks[1, :, ::-1])


def test_outside_of_the_image_is_void_and_filled():
    images = np.full((1, 5, 5, 1), 200, "uint8")
    masks = np.ones((1, 5, 5), "int32")
    boxes = tf.constant([[-0.5, -0.5, 0.5, 0.5]])
    fill = np.array([30.0], "float32")
    found, labels = apply_windows(images, masks, boxes, 255, fill)
    inside = np.zeros((5, 5), bool)
    inside[2:, 2:] = True
    np.testing.assert_array_equal(labels[0], np.where(inside, 1, 255))
    np.testing.assert_allclose(found[0, ..., 0], np.where(inside, 200.0, 30.0))


def test_images_and_masks_move_together():
    rows = np.arange(48, dtype="uint8")[None, :, None].repeat(4, 0).repeat(48, 2)
    seed, scales = tf.constant([1, 2]), (0.75, 1.75)
    windows = draw_windows(seed, 4, scales, mirror=True)
    fill = np.zeros(1, "float32")
    found, labels = apply_windows(
        rows[..., None], rows.astype("int32"), windows, 255, fill
    )
    known = np.array(labels) != 255
    gaps = np.abs(np.array(found)[..., 0] - np.array(labels))[known]
    assert gaps.max() <= 0.501
    assert known.mean() > 0.5


def test_windows_follow_the_seed_and_stay_in_range():
    draw = [
        draw_windows(tf.constant(s), 64, (0.5, 2.0), True) for s in ([1, 2], [1, 3])
    ]
    again = draw_windows(tf.constant([1, 2]), 64, (0.5, 2.0), True)
    np.testing.assert_array_equal(draw[0], again)
    assert not np.array_equal(draw[0], draw[1])
    top, left, bottom, right = np.transpose(draw[0])
    extent = bottom - top
    np.testing.assert_allclose(np.abs(right - left), extent, rtol=1e-5)
    assert 0.5 <= extent.min() < 0.6 < 1.7 < extent.max() <= 2.0
    assert 0.2 < np.mean(left > right) < 0.8
    # A part of the image lies inside it, a whole image inside the part.
    low, high = np.minimum(top, bottom), np.maximum(top, bottom)
    small = extent <= 1
    assert np.all((low[small] >= 0) & (high[small] <= 1 + 1e-6))
    assert np.all((low[~small] <= 0) & (high[~small] >= 1 - 1e-6))
