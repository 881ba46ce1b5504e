"""Images in batches, from whatever a user has."""

import numpy as np


def image_batches(data, shape):
    """Yields the images of each batch as a NumPy array, checked.

    Args:
        data: Array of images, or an iterable of batches: images or `(images, ...)`,
            where `{"image": images}` may stand for the images; or a function that
            returns one, such as a `representative_dataset` of TensorFlow Lite, whose
            batches are `[images]` or `{"name of the input": images}`.
        shape: `(height, width, channels)` that each image must have.

    Raises:
        ValueError: If the images have another shape or hold anything but finite
            numbers, or if there are none.
    """
    data = data() if callable(data) else data
    if not hasattr(data, "__getitem__") and not hasattr(data, "__iter__"):
        raise ValueError(
            "Expected an array of images, an iterable of batches or a function that "
            f"returns one. Received: {data!r}"
        )
    empty = True
    for batch in [data] if hasattr(data, "ndim") else data:
        images = np.asarray(_images_of(batch))
        _check_images(images, shape)
        if len(images):
            empty = False
            yield images
    if empty:
        raise ValueError(
            "Expected at least one image. An iterator that was read before may have "
            f"come to its end. Received: {data}"
        )


def whole_batches(images, size):
    """Yields batches of exactly `size` images; repeated ones fill up the last."""
    for start in range(0, len(images), size):
        yield np.resize(images[start : start + size], (size, *images.shape[1:]))


def in_batches(function, images, size):
    """Applies a function that takes exactly `size` images to any number of them."""
    outputs = [function(batch) for batch in whole_batches(images, size)]
    return np.concatenate(outputs)[: len(images)]


def _images_of(batch):
    """The images of a batch of any structure."""
    while isinstance(batch, (tuple, list, dict)):
        if not isinstance(batch, dict):
            batch = batch[0]
        elif len(batch) == 1:
            (batch,) = batch.values()
        elif "image" in batch:
            batch = batch["image"]
        else:
            raise ValueError(
                f"Expected images under the key 'image'. Received: keys {sorted(batch)}"
            )
    return batch


def _check_images(images, shape):
    if images.ndim != len(shape) + 1 or images.shape[1:] != shape:
        raise ValueError(
            f"Expected batches of images with shape {('batch', *shape)}. "
            f"Received: shape={images.shape}"
        )
    if images.dtype.kind not in "fiu":
        raise ValueError(
            "Expected images of floats or integers. "
            f"Received: dtype={images.dtype.name}"
        )
    finite = np.isfinite(images)
    if not finite.all():
        raise ValueError(
            "Expected finite images. Received: images with "
            f"{np.count_nonzero(~finite)} values that are NaN or infinite"
        )
