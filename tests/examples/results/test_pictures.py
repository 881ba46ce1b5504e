from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from examples.results import pictures
from examples.runs.run import Run


@pytest.fixture
def data():
    labels = np.array([1, 1, 0, 2, 0], "int32")
    images = np.arange(5.0)[:, None, None, None] * np.ones((1, 4, 4, 1))
    test = tf.data.Dataset.from_tensor_slices((images, labels)).batch(2)
    return SimpleNamespace(test=test, label_names=["cat", "dog", "cow"])


def test_history_keeps_the_logs_of_every_epoch():
    rows = [
        {"note": "FAST", "method": "a", "epoch": "1", "loss": "2.5"},
        {"note": "FAST", "method": "a", "epoch": 2, "loss": 1.5},
    ]
    assert pictures.history(rows) == {"loss": [2.5, 1.5]}


def test_history_leaves_out_the_terms_of_other_methods():
    rows = [{"method": "a", "epoch": "1", "loss": "2.5", "feature_loss": ""}]
    assert pictures.history(rows) == {"loss": [2.5]}


def test_one_image_of_each_class_is_the_first(data):
    labels = np.array([1, 1, 0, 2, 0])
    images, names = pictures.one_of_each_class(data, labels)
    assert names == ["cat", "dog", "cow"]
    assert images[:, 0, 0, 0].tolist() == [2.0, 0.0, 3.0]


def test_no_attention_without_taps(data, tmp_path):
    run = Run(tmp_path)
    run.history = [{"method": "supervised", "epoch": 1, "loss": 1.0}]
    logits = {"supervised": np.zeros((5, 3))}
    labels = np.array([1, 1, 0, 2, 0])
    pictures.draw(run, SimpleNamespace(taps=[]), data, labels, logits)
    names = sorted(file.name for file in tmp_path.iterdir())
    assert names == ["curves.png", "reliability.png"]
