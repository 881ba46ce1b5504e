import numpy as np
import pytest

from examples.results import features


def test_grey_images_for_a_student_of_colours():
    pixels = np.arange(4.0).reshape(1, 2, 2, 1)
    mean, std = np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 4.0])
    shown = features.adapted(pixels, (2, 2, 3), mean, std)
    assert (shown.shape, shown.dtype) == ((1, 2, 2, 3), np.float32)
    np.testing.assert_allclose(shown[0, 1, 1], [2.0, 0.5, 0.0])


def test_colours_for_a_student_of_grey_images():
    pixels = np.array([0.0, 30.0, 60.0]).reshape(1, 1, 1, 3)
    shown = features.adapted(pixels, (1, 1, 1), np.array([10.0]), np.array([5.0]))
    assert shown.tolist() == [[[[4.0]]]]


def test_images_of_its_own_kind_are_only_normalised():
    pixels = np.array([0.0, 30.0, 60.0]).reshape(1, 1, 1, 3)
    shown = features.adapted(pixels, (1, 1, 3), np.zeros(3), np.ones(3))
    np.testing.assert_array_equal(shown, pixels)


def test_a_probe_tells_classes_that_a_plane_parts():
    generator = np.random.default_rng(0)
    labels = np.arange(60) % 2
    told = generator.normal(size=(60, 4)) + 10 * np.where(labels, 1, -1)[:, None]
    halves = (told[:30], labels[:30]), (told[30:], labels[30:])
    assert features.probe(*halves) == {"linear": 1.0, "neighbours": 1.0}


def test_a_probe_of_noise_is_at_chance():
    generator = np.random.default_rng(0)
    noise, labels = generator.normal(size=(2000, 4)), np.arange(2000) % 2
    found = features.probe((noise[:1000], labels[:1000]), (noise[1000:], labels[1000:]))
    assert found["linear"] == pytest.approx(0.5, abs=0.06)
    assert found["neighbours"] == pytest.approx(0.5, abs=0.06)


def test_fewer_images_than_neighbours():
    few = np.eye(3), np.arange(3)
    assert features.probe(few, few) == {"linear": 1.0, "neighbours": 1.0}


def test_the_table_compares_seed_by_seed():
    rows = [
        {"leg": leg, "seed": seed, "budget": 8, "linear": score, "neighbours": 0.5}
        for leg, scores in {"plain": (0.5, 0.6), "frskd": (0.52, 0.62)}.items()
        for seed, score in enumerate(scores)
    ]
    lines = features.table(rows, "plain").splitlines()
    assert lines[2].startswith("| plain | 2 | 55.00 ± 7.07 |  | 50.00 ± 0.00 |  |")
    assert lines[3].startswith("| frskd | 2 | 57.00 ± 7.07 | +2.00 [+2.00, +2.00] |")
