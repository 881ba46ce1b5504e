import numpy as np
import pytest
import tensorflow as tf

from keras_selfkd import SelfDistillationModel, Supervised, check_data
from tests import toys


@pytest.fixture
def model():
    model = SelfDistillationModel(toys.classifier(), Supervised())
    model.compile("sgd", toys.cross_entropy())
    return model


def test_counts_examples(model):
    data = tf.data.Dataset.from_tensor_slices(toys.class_data(10)).batch(4)
    assert check_data(data, model) == 10
    images, labels = toys.class_data(3)
    assert check_data([({"image": images}, labels)], model) == 3


def second(images=None, labels=None):
    good = toys.class_data(4)
    return [
        good,
        (good[0] if images is None else images, good[1] if labels is None else labels),
    ]


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        ([], "yields no batch"),
        (
            second(labels=np.array([0, 1, 2, 4])),
            r"Batch 1: .*Labels must lie in \[0, 4\)",
        ),
        (second(labels=np.eye(4)), "Batch 1: The labels do not fit"),
        (
            second(images=np.zeros((4, 8, 8, 3))),
            r"Batch 1: .*takes images \(16, 16, 3\)",
        ),
        (second(images=np.full((4, 16, 16, 3), np.nan)), "Batch 1: .*NaN or infinite"),
    ],
)
def test_errors(model, batches, message):
    with pytest.raises(ValueError, match=f"(?s){message}"):
        check_data(batches, model)
