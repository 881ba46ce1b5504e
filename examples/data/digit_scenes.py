"""Scenes of handwritten digits on textured ground, to segment offline.

Each scene is a grey image with a few digits of scikit-learn's bundled set on it, and
a mask: 0 is the ground, 1 to 10 are the digits 0 to 9, and `VOID` is the soft border
of each stroke, where nobody could say what a pixel belongs to.
"""

import keras
import numpy as np

VOID = 255
NAMES = ["ground", *map(str, range(10))]
_SIZE = 64
_SCENES = {"train": 64, "validation": 80, "test": 240}
# Digit images of each class; no image is in two splits.
_DIGITS = {"train": slice(0, 60), "validation": slice(60, 90), "test": slice(90, None)}


def digit_scenes(split):
    """Draws the scenes of a split, always the same ones.

    Args:
        split: `"train"`, `"validation"` or `"test"`. Their scenes show different
            images of digits.

    Returns:
        uint8 arrays `(scenes, 64, 64, 1)` of images and `(scenes, 64, 64)` of masks.

    Example:
    >>> images, masks = digit_scenes("validation")
    >>> images.shape, masks.shape
    ((80, 64, 64, 1), (80, 64, 64))
    """
    generator = np.random.default_rng(list(_SCENES).index(split))
    digits = _digits_of(split)
    scenes = [_scene(digits, generator) for _ in range(_SCENES[split])]
    images, masks = zip(*scenes, strict=True)
    return np.stack(images)[..., None], np.stack(masks)


def _digits_of(split):
    """A list of arrays `(images, 8, 8)` in [0, 1], one array a class."""
    from sklearn import datasets

    digits = datasets.load_digits()
    order = np.random.default_rng(0).permutation(len(digits.images))
    images, labels = digits.images[order] / 16, digits.target[order]
    return [images[labels == label][_DIGITS[split]] for label in range(10)]


def _scene(digits, generator):
    image, mask = _texture(generator), np.zeros((_SIZE, _SIZE), "uint8")
    brightness = generator.uniform(0.75, 1.0)
    for _ in range(generator.integers(4, 11)):
        label = generator.integers(10)
        digit = digits[label][generator.integers(len(digits[label]))]
        size = generator.integers(18, 33)
        ink = _resized(np.pad(digit, 1), size)
        top, left = generator.integers(0, _SIZE - size + 1, 2)
        place = slice(top, top + size), slice(left, left + size)
        stroke = ink > 0.5
        border = _grown(stroke) | (ink > 0.1)
        if np.any(mask[place][border]):
            continue  # No digit touches another.
        image[place] += ink * (brightness - image[place])
        mask[place][border] = VOID
        mask[place][stroke] = label + 1
    return np.rint(255 * image).astype("uint8"), mask


def _grown(region):
    """A boolean picture, larger by a pixel on all four sides."""
    wide = np.pad(region, 1)
    sides = wide[:-2, 1:-1], wide[2:, 1:-1], wide[1:-1, :-2], wide[1:-1, 2:]
    return np.logical_or.reduce([region, *sides])


def _texture(generator):
    """A wave and smooth noise, at most 0.6 bright."""
    rows, columns = np.mgrid[:_SIZE, :_SIZE] / _SIZE
    angle, phase = generator.uniform(0, 2 * np.pi, 2)
    waves = generator.uniform(1, 8)
    along = rows * np.sin(angle) + columns * np.cos(angle)
    wave = 0.5 + 0.5 * np.sin(2 * np.pi * waves * along + phase)
    noise = _resized(generator.random((8, 8)), _SIZE)
    grain = generator.random((_SIZE, _SIZE))
    return generator.uniform(0.2, 0.6) * (0.4 * wave + 0.4 * noise + 0.2 * grain)


def _resized(picture, size):
    resized = keras.ops.image.resize(
        picture[..., None], (size, size), interpolation="bicubic"
    )
    return np.clip(keras.ops.convert_to_numpy(resized)[..., 0], 0.0, 1.0)
