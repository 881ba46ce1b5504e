"""Test images as a worse camera would have taken them: 8 corruptions, 5 strengths.

After Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common
Corruptions and Perturbations", ICLR 2019, https://arxiv.org/abs/1903.12261, whose
images are of other sizes: lengths here are shares of an image's shorter side.
"""

import io

import numpy as np
from PIL import Image
from scipy import ndimage

STRENGTHS = (1, 2, 3, 4, 5)

# A value for each strength.
_NOISE = (0.04, 0.06, 0.08, 0.12, 0.18)  # Standard deviation, white = 1.
_BLUR = (0.015, 0.025, 0.035, 0.05, 0.07)  # Standard deviation, side = 1.
_CONTRAST = (0.75, 0.5, 0.4, 0.3, 0.15)  # Of the distance to the image's mean.
_BRIGHTNESS = (0.05, 0.1, 0.15, 0.2, 0.3)  # Added, white = 1.
_JPEG = (80, 60, 40, 25, 15)  # Quality.
_PIXELATE = (0.9, 0.75, 0.6, 0.5, 0.4)  # Of the side.
_SHIFT = (0.03, 0.06, 0.09, 0.12, 0.16)  # Side = 1.
_ROTATION = (5, 10, 15, 20, 30)  # Degrees.


def corrupted(images, name, strength, seed=0):
    """Corrupts images.

    Args:
        images: uint8 array `(count, height, width, channels)`, of 1 or 3 channels.
        name: Key of `CORRUPTIONS`.
        strength: One of `STRENGTHS`.
        seed: Integer that decides noise and directions. Defaults to `0`.

    Returns:
        uint8 array of the same shape.

    Example:
    >>> grey = np.full((1, 8, 8, 3), 100, "uint8")
    >>> int(corrupted(grey, "brightness", 1).max())
    113
    """
    random = np.random.default_rng(seed)
    level = strength - 1
    found = [CORRUPTIONS[name](image, level, random) for image in images]
    return np.clip(np.round(np.stack(found)), 0, 255).astype("uint8")


def _noise(image, level, random):
    return image + random.normal(scale=255 * _NOISE[level], size=image.shape)


def _blur(image, level, random):
    width = _BLUR[level] * min(image.shape[:2])
    return ndimage.gaussian_filter(image.astype("float32"), (width, width, 0))


def _contrast(image, level, random):
    mean = image.mean((0, 1), keepdims=True)
    return mean + _CONTRAST[level] * (image - mean)


def _brightness(image, level, random):
    return image + 255.0 * _BRIGHTNESS[level]


def _jpeg(image, level, random):
    file = io.BytesIO()
    _picture(image).save(file, "JPEG", quality=_JPEG[level])
    return _array(Image.open(file), image)


def _pixelate(image, level, random):
    height, width = image.shape[:2]
    share = _PIXELATE[level]
    few = (max(1, round(share * width)), max(1, round(share * height)))
    small = _picture(image).resize(few, Image.Resampling.BOX)
    return _array(small.resize((width, height), Image.Resampling.NEAREST), image)


def _shift(image, level, random):
    angle = random.uniform(0, 2 * np.pi)
    length = _SHIFT[level] * min(image.shape[:2])
    by = (length * np.sin(angle), length * np.cos(angle), 0)
    return ndimage.shift(image.astype("float32"), by, order=1, mode="nearest")


def _rotation(image, level, random):
    degrees = _ROTATION[level] * random.choice((-1, 1))
    options = {"reshape": False, "order": 1, "mode": "nearest"}
    return ndimage.rotate(image.astype("float32"), degrees, **options)


def _picture(image):
    return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)


def _array(picture, like):
    return np.asarray(picture).reshape(like.shape).astype("float32")


CORRUPTIONS = {
    "noise": _noise,
    "blur": _blur,
    "contrast": _contrast,
    "brightness": _brightness,
    "JPEG": _jpeg,
    "pixelate": _pixelate,
    "shift": _shift,
    "rotation": _rotation,
}
