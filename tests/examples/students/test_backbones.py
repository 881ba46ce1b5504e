import sys

import keras
import numpy as np
import pytest

from examples.students import by_name
from examples.students.backbones import classifier_builders


@pytest.mark.slow
@pytest.mark.parametrize("name", classifier_builders())
def test_backbones_become_classifiers(name):
    student = by_name.build_student(name, (64, 64, 3), classes=3)
    images = np.random.default_rng(0).normal(size=(2, 64, 64, 3)).astype("float32")
    assert student(images).shape == (2, 3)
    assert student.layers[-1].activation is keras.activations.linear


@pytest.mark.slow
def test_backbones_have_their_published_sizes():
    sizes = {
        "EfficientNetBackbone": 4_049_564,  # keras.applications without its head
        "keras_hub:DenseNetBackbone": 7_037_504,
        "mobilenet_v3_backbone": 939_120,
    }
    for name, size in sizes.items():
        student = by_name.build_student(name, (64, 64, 3), classes=3)
        head = student.layers[-1].count_params()
        assert (name, student.count_params() - head) == (name, size)


@pytest.mark.parametrize(
    ("library", "name"),
    [("keras_hub", "ResNetBackbone"), ("keras_cv", "ResNetV2Backbone")],
)
def test_missing_library_names_its_extra(library, name, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    extra = library.replace("_", "-")
    with pytest.raises(ImportError, match=rf"pip install keras_selfkd\[{extra}\]"):
        by_name.build_student(name, (64, 64, 3), classes=3)
