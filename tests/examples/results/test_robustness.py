import functools
from typing import Any, NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from examples.results import robustness
from examples.results.class_results import rate
from examples.results.corruptions import CORRUPTIONS, STRENGTHS


class Data(NamedTuple):
    """Grey images that are bright, of class 1, or dark; normalised."""

    test: Any
    validation: Any
    mean: Any = np.float32(100.0)
    std: Any = np.float32(50.0)


def data(validation=True):
    labels = np.arange(12, dtype="int32") % 2
    pixels = np.full((12, 16, 16, 1), 60, "float32") + 80 * labels[:, None, None, None]
    batches = tf.data.Dataset.from_tensor_slices(((pixels - 100) / 50, labels)).batch(5)
    return Data(batches, batches if validation else None)


def student(sure=1.0):
    """Says 1 of what is brighter than the mean."""
    images = keras.Input((16, 16, 1))
    mean = keras.layers.GlobalAveragePooling2D()(images)
    logits = keras.layers.Dense(2)(mean)
    model = keras.Model(images, logits)
    model.layers[-1].set_weights([np.array([[-sure, sure]]), np.zeros(2)])
    return model


@functools.cache
def rated(sure=1.0, validation=True):
    """A student under all corruptions, once."""
    return robustness.rate_robustness(student(sure), data(validation))


def test_the_temperature_undoes_a_scale():
    random = np.random.default_rng(0)
    logits = random.normal(size=(4000, 3))
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    labels = np.array([random.choice(3, p=row) for row in p])
    assert robustness.temperature(3.0 * logits, labels) == pytest.approx(3.0, rel=0.1)
    assert robustness.temperature(0.5 * logits, labels) == pytest.approx(0.5, rel=0.1)


def test_a_student_under_corruptions():
    found = rated()
    assert found["images"] == 12
    assert found["corrupted"].keys() == CORRUPTIONS.keys()
    assert all(len(of) == len(STRENGTHS) for of in found["corrupted"].values())
    # Flat images: nothing but brightness changes what it says.
    for name, of in found["corrupted"].items():
        assert of == [1.0] * 5 or name == "brightness"
    # 60 + 0.2 * 255 lies above the mean of 100: all are called bright.
    assert found["corrupted"]["brightness"] == [1.0, 1.0, 1.0, 0.5, 0.5]


def test_scaling_does_not_make_calibration_worse():
    unsure = rated(0.1)
    assert unsure["temperature"] < 1
    images, labels = (np.concatenate(all) for all in zip(*data().test, strict=True))
    before = rate(student(0.1).predict(images, verbose=0), labels).score
    assert unsure["scaled_nll"] < before["nll"]
    assert unsure["scaled_calibration_error"] < before["calibration_error"]


def test_without_validation_images_nothing_is_scaled():
    found = rated(validation=False)
    assert not {"temperature", "scaled_nll"} & found.keys()
    assert robustness.table({"plain": [found]}).count("\n") == 2


def test_what_is_kept_is_read_again(tmp_path):
    assert robustness.kept(tmp_path) is None
    robustness.keep(tmp_path, student(), data())
    assert robustness.kept(tmp_path) == rated()


def test_table_and_picture(tmp_path):
    found = rated()
    other = rated(0.1)
    legs = {"plain": [found, other], "a | b": [found]}
    text = robustness.write(tmp_path, legs, "command", "study")
    header, _, first, second = text.splitlines()
    assert header.count("|") == first.count("|") == second.count("|") - 1
    assert "| 100.0 ± 0.0 |" in first
    assert "80.0" in second
    with Image.open(tmp_path / "robustness.png") as picture:
        assert picture.width > picture.height
    assert "`command`" in (tmp_path / "robustness.md").read_text()
