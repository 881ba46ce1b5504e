import numpy as np
import pytest

from examples.results.corruptions import CORRUPTIONS, STRENGTHS, corrupted

every = pytest.mark.parametrize("name", CORRUPTIONS)


def images(channels=3, size=(24, 32)):
    """Smooth, of all shades, so that every corruption shows."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    image = 127 + 60 * np.sin(rows / 3) + 60 * np.cos(columns / 2)
    return np.stack([np.stack([image] * channels, -1)] * 3).astype("uint8")


def distance(one, other):
    return np.abs(one.astype(float) - other.astype(float)).mean()


@every
@pytest.mark.parametrize("channels", [1, 3])
def test_stronger_is_further_from_the_image(name, channels):
    clean = images(channels)
    found = [corrupted(clean, name, strength) for strength in STRENGTHS]
    assert all(f.shape == clean.shape and f.dtype == np.uint8 for f in found)
    distances = [distance(clean, one) for one in found]
    assert 0 < distances[0] < distances[-1]
    assert sorted(distances) == distances or name in ("shift", "rotation", "pixelate")


@every
def test_the_seed_decides(name):
    clean = images()
    first = corrupted(clean, name, 3, seed=5)
    np.testing.assert_array_equal(first, corrupted(clean, name, 3, seed=5))
    others = [corrupted(clean, name, 3, seed=seed) for seed in range(4)]
    same = all(np.array_equal(first, other) for other in others)
    assert same == (name not in ("noise", "shift", "rotation"))


def test_a_flat_image_shows_noise_alone():
    flat = np.full((2, 16, 16, 1), 100, "uint8")
    for name in CORRUPTIONS:
        found = corrupted(flat, name, 1).astype(float)
        if name == "noise":
            assert 0.03 < found.std() / 255 < 0.05
        elif name == "brightness":
            np.testing.assert_array_equal(found, 113)
        else:
            np.testing.assert_allclose(found, 100, atol=1)


def test_contrast_by_hand():
    image = np.zeros((1, 2, 2, 1), "uint8")
    image[0, 0] = 200
    np.testing.assert_array_equal(
        corrupted(image, "contrast", 2)[0, :, :, 0], [[150, 150], [50, 50]]
    )


def test_a_shift_is_as_long_as_it_says():
    dot = np.zeros((1, 101, 101, 1), "uint8")
    dot[0, 45:56, 45:56] = 255
    found = corrupted(dot, "shift", 5)[0, :, :, 0].astype(float)
    places = np.mgrid[:101, :101].reshape(2, -1)
    centre = (places * found.ravel()).sum(1) / found.sum()
    assert np.hypot(*(centre - 50)) == pytest.approx(16.16, abs=0.3)
