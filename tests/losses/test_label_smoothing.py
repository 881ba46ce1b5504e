import keras
import numpy as np
import pytest

from keras_selfkd import Mixup, SelfDistillationModel, Supervised
from keras_selfkd.losses.label_smoothing import SmoothedCrossEntropy
from tests import toys

LOGITS = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")
LABELS = np.array([0, 3, 2, 1, 1])


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_equals_keras_of_one_hot_labels(smoothing):
    loss = SmoothedCrossEntropy(smoothing)
    keras_loss = keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=smoothing
    )
    expected = keras_loss(np.eye(4)[LABELS], LOGITS)
    np.testing.assert_allclose(loss(LABELS, LOGITS), expected, rtol=1e-6)
    again = SmoothedCrossEntropy.from_config(loss.get_config())
    np.testing.assert_array_equal(again(LABELS, LOGITS), loss(LABELS, LOGITS))


def test_trains_with_mixing_and_the_metrics_of_integer_labels():
    images, labels = toys.class_data(16)
    model = SelfDistillationModel(toys.classifier(), Supervised(mixing=Mixup()))
    model.compile("sgd", SmoothedCrossEntropy(0.1), metrics=["accuracy"])
    logs = model.fit(images, labels, verbose=0).history
    assert 0 <= logs["accuracy"][0] <= 1
    assert np.isfinite(logs["task_loss"][0])


@pytest.mark.parametrize("smoothing", [-0.1, 1.0])
def test_error_out_of_range(smoothing):
    with pytest.raises(ValueError, match=f"in .0, 1.*label_smoothing={smoothing}"):
        SmoothedCrossEntropy(smoothing)
