import numpy as np
import pytest

from keras_selfkd import SelfDistillationModel, Supervised
from keras_selfkd.batch import images_and_keys
from tests import toys

IMAGES = np.zeros((2, 4, 4, 3))


def test_images_and_what_stands_beside_them():
    assert images_and_keys(IMAGES) == (IMAGES, {})
    x = {"image": IMAGES, "index": [3, 4], "view": IMAGES, "pair": IMAGES}
    images, others = images_and_keys(x)
    assert images is IMAGES
    assert sorted(others) == ["index", "pair", "view"]


@pytest.mark.parametrize("key", ["y", "x", "label", "sample_weight", "valid", "id"])
def test_error_other_keys(key):
    with pytest.raises(ValueError, match=rf"dict with keys .*'{key}'"):
        images_and_keys({"image": IMAGES, key: IMAGES})
    with pytest.raises(ValueError, match="dict with keys"):
        images_and_keys({key: IMAGES})


@pytest.mark.parametrize("method", ["fit", "evaluate", "predict"])
def test_error_a_second_input_is_not_trained_on(method):
    model = SelfDistillationModel(toys.classifier(), Supervised())
    model.compile("sgd", toys.cross_entropy())
    images, labels = toys.class_data(4)
    x = {"image": images, "y": np.ones(4)}
    labels = {} if method == "predict" else {"y": labels}
    with pytest.raises(ValueError, match=r"dataset.map.*\['image', 'y'\]"):
        getattr(model, method)(x, **labels, verbose=0)
