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
