"""Random crops and mirrors: drawn in one place, applied in another."""

from typing import NamedTuple

import tensorflow as tf


class Crops(NamedTuple):
    """How each image of a batch is cropped, all three of shape `(batch,)`.

    Attributes:
        top: int32, first row of the crop in the padded image.
        left: int32, first column of the crop in the padded image.
        mirrored: bool, whether the crop is mirrored left to right.
    """

    top: tf.Tensor
    left: tf.Tensor
    mirrored: tf.Tensor


def draw_crops(seed, batch, padding, mirror):
    """Draws a crop for each image of a batch.

    Args:
        seed: Integer tensor of shape `(2,)`; the same seed draws the same crops.
        batch: Number of images.
        padding: Width in pixels of the border that the images get.
        mirror: Whether to mirror every second image on average.

    Returns:
        `Crops`.
    """
    places_seed, mirrored_seed = tf.unstack(tf.random.split(seed, 2))
    places = tf.random.stateless_uniform(
        (2, batch), places_seed, maxval=2 * padding + 1, dtype=tf.int32
    )
    mirrored = tf.random.stateless_uniform((batch,), mirrored_seed) < 0.5
    return Crops(places[0], places[1], tf.logical_and(mirrored, mirror))


def apply_crops(images, crops, padding):
    """Pads images with black and cuts crops of their own size out of them.

    Args:
        images: Tensor `(batch, height, width, channels)`.
        crops: `Crops`.
        padding: Width in pixels of the border on each side.

    Returns:
        Tensor of the shape and type of `images`.
    """
    height, width = images.shape[1:3]
    border = (padding, padding)
    padded = tf.pad(images, ((0, 0), border, border, (0, 0)))
    rows = crops.top[:, None] + tf.range(height)
    columns = crops.left[:, None] + tf.where(
        crops.mirrored[:, None], tf.range(width)[::-1], tf.range(width)
    )
    cut = tf.gather(padded, rows, axis=1, batch_dims=1)
    return tf.gather(cut, columns, axis=2, batch_dims=1)


def random_crops(images, labels, key, mirror):
    """Crops a batch at random after padding it with an eighth of its height.

    Args:
        images: uint8 tensor `(batch, height, width, channels)`.
        labels: Tensor `(batch,)`, returned as it is.
        key: Integer tensor of shape `(2,)`; the same key draws the same crops.
        mirror: Whether to mirror every second image on average.
    """
    padding = images.shape[1] // 8
    crops = draw_crops(key, images.shape[0], padding, mirror)
    return apply_crops(images, crops, padding), labels


def random_resized_crop(image, image_shape, seed, mirror):
    """Cuts a random part out of an image and resizes it, as is usual on ImageNet.

    The part covers 8 to 100 % of the image at an aspect ratio of 3/4 to 4/3.

    Args:
        image: uint8 tensor `(height, width, channels)`.
        image_shape: `(height, width, channels)` of the result.
        seed: Integer tensor of shape `(2,)`.
        mirror: Whether to mirror every second image on average.

    Returns:
        float32 tensor of `image_shape` with values in [0, 255].

    References:
        Christian Szegedy et al., "Going Deeper with Convolutions",
        https://arxiv.org/abs/1409.4842, 2014.
    """
    crop_seed, mirror_seed = tf.unstack(tf.random.split(seed, 2))
    begin, extent, _ = tf.image.stateless_sample_distorted_bounding_box(
        tf.shape(image),
        bounding_boxes=tf.zeros((1, 0, 4)),
        seed=crop_seed,
        aspect_ratio_range=(3 / 4, 4 / 3),
        area_range=(0.08, 1.0),
        use_image_if_no_bounding_boxes=True,
    )
    crop = tf.slice(image, begin, extent)
    crop = tf.image.resize(crop, image_shape[:2], antialias=True)
    crop = tf.ensure_shape(crop, image_shape)
    if mirror:
        crop = tf.image.stateless_random_flip_left_right(crop, mirror_seed)
    return crop


def draw_windows(seed, batch, scales, mirror):
    """Draws a scale and a place for each image of a batch.

    Args:
        seed: Integer tensor of shape `(2,)`; the same seed draws the same windows.
        batch: Number of images.
        scales: Smallest and largest enlargement, drawn evenly in the logarithm.
        mirror: Whether to mirror every second image on average.

    Returns:
        float32 tensor `(batch, 4)`: top, left, bottom and right as shares of the
        image's size; outside of [0, 1] beyond the image, mirrored where left is larger
        than right.
    """
    numbers = tf.random.stateless_uniform((4, batch), seed)
    low, high = scales
    extent = 1.0 / (low * (high / low) ** numbers[0])
    top, left = numbers[1] * (1.0 - extent), numbers[2] * (1.0 - extent)
    right = left + extent
    mirrored = tf.logical_and(numbers[3] < 0.5, mirror)
    left, right = tf.where(mirrored, right, left), tf.where(mirrored, left, right)
    return tf.stack([top, left, top + extent, right], axis=1)


def apply_windows(images, masks, boxes, void, fill):
    """Enlarges a window of each image to the image's size, and of its mask alike.

    Args:
        images: uint8 tensor `(batch, height, width, channels)`.
        masks: Integer tensor `(batch, height, width)`.
        boxes: Tensor `(batch, 4)` of windows, as `draw_windows` returns.
        void: Label of what lies outside of an image.
        fill: Array `(channels,)`, the colour of what lies outside.

    Returns:
        float32 images, bilinear, and int32 masks, nearest, of the same shapes.
    """
    size, order = masks.shape[1:], tf.range(tf.shape(images)[0])
    images = tf.cast(images, tf.float32) - fill
    images = tf.image.crop_and_resize(images, boxes, order, size)
    masks = tf.image.crop_and_resize(
        masks[..., None],
        boxes,
        order,
        size,
        method="nearest",
        extrapolation_value=void,
    )
    return images + fill, tf.cast(masks[..., 0], tf.int32)
