import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_selfkd import (
    SelfDistillationModel,
    Supervised,
    check_data,
    with_class_weights,
)
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


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ((np.zeros((2, 16, 16, 3)), np.eye(4)[:2] * 255), r"must lie in \[0, 1\]"),
        ((np.zeros((2, 16, 16, 3)), np.eye(4)[:3]), r"as many of each .*\[2, 3\]"),
        (({"image": np.zeros((2, 16, 16, 3)), "id": [1, 2]}, np.eye(4)[:2]), "'id'"),
        (np.zeros((2, 16, 16, 3)), "Received: y=None"),
    ],
)
def test_errors_of_one_hot_labels_counts_and_keys(model, batch, message):
    model.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True))
    with pytest.raises(ValueError, match=f"(?s)Batch 0: .*{message}"):
        check_data([batch], model)


@pytest.mark.parametrize("axis", [(), (1,)])
@pytest.mark.parametrize("kind", ["class", "mask"])
def test_class_weights_restated_in_numpy(kind, axis):
    labels = np.random.default_rng(0).integers(
        0, 4, (3,) if kind == "class" else (3, 5, 4)
    )
    labels[0] = 255
    given = np.array([2.0, 1.0, 0.5], "float32")
    batch = tf.zeros((3, 8, 8, 1)), labels.reshape(labels.shape + axis), given
    data = tf.data.Dataset.from_tensors(batch)
    ((_, same, weights),) = with_class_weights(data, {0: 0.1, 2: 5.0})
    np.testing.assert_array_equal(same, batch[1])
    expected = np.select([labels == 0, labels == 2], [0.1, 5.0], 1.0)
    expected *= given.reshape(-1, *[1] * (labels.ndim - 1))
    np.testing.assert_allclose(weights, expected, rtol=1e-6)


def test_class_weights_reach_the_loss_of_masks():
    images, masks = toys.pixel_data(8)
    data = tf.data.Dataset.from_tensor_slices((images, masks)).batch(8)
    losses = []
    for class_weight in ({0: 1.0}, {0: 0.0}):
        model = SelfDistillationModel(toys.segmenter(), Supervised())
        model.student.set_weights([np.ones(w.shape) for w in model.student.weights])
        model.compile("sgd", toys.cross_entropy())
        logs = model.fit(
            with_class_weights(data, class_weight), shuffle=False, verbose=0
        ).history
        losses.append(logs["loss"][0])
    # All logits are equal: each pixel of a class other than 0 costs log(4).
    share = np.mean(masks != 0)
    np.testing.assert_allclose(losses, [np.log(4), share * np.log(4)], rtol=1e-4)


def test_given_weights_of_any_form_are_multiplied():
    masks = np.array([[[0, -1], [1, 255]], [[1, 1], [0, 0]]])
    table = {0: 2.0, 1: 3.0}
    expected = np.array([[[2.0, 1.0], [3.0, 1.0]], [[3.0, 3.0], [2.0, 2.0]]])
    for shape in ((2,), (2, 1), (2, 2, 2), (2, 2, 2, 1)):
        given = np.random.default_rng(0).random(shape).astype("float32")
        data = tf.data.Dataset.from_tensors((tf.zeros((2, 2, 2, 1)), masks, given))
        ((_, _, weights),) = with_class_weights(data, table)
        factor = given.reshape(2, 1, 1) if given.size == 2 else given.reshape(2, 2, 2)
        np.testing.assert_allclose(weights, expected * factor, rtol=1e-6)


@pytest.mark.parametrize("class_weight", [{}, {-1: 2.0}, [1.0, 2.0], {0: -1.0}])
def test_error_class_weights(class_weight):
    data = tf.data.Dataset.from_tensors((tf.zeros((1, 2, 2, 1)), [0]))
    with pytest.raises(
        ValueError, match=r"Expected a dict from labels|weight of label 0 to be"
    ):
        with_class_weights(data, class_weight)
