import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_selfkd import Mixup, SelfDistillationModel, ZipfLS
from keras_selfkd.methods import zipf_ls
from keras_selfkd.supervision import Supervision
from tests import toys
from tests.methods.batches import terms_of

CLASSES = 5


def softmax(values):
    e = np.exp(values - values.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def shares_by_hand(votes, label):
    """Zipf's shares of the classes, one by one."""
    others = [c for c in range(len(votes)) if c != label and votes[c] > 0]
    others.sort(key=lambda c: (-votes[c], c))
    ranks = dict(zip(others, range(1, len(others) + 1), strict=True))
    shares = np.array([1 / ranks.get(c, len(others) + 1) for c in range(len(votes))])
    shares[label] = 0
    return shares / shares.sum()


def divergence_by_hand(votes, logits, label):
    shares = shares_by_hand(votes, label)
    others = np.arange(len(votes)) != label
    q = softmax(logits[others])
    return (shares[others] * np.log(shares[others] / q)).sum()


def test_the_term_is_the_formula():
    keras.utils.set_random_seed(0)
    student = toys.classifier((64, 64, 3), classes=CLASSES)
    model = SelfDistillationModel(student, ZipfLS())
    images = np.random.default_rng(0).normal(size=(6, 64, 64, 3)).astype("float32")
    labels = np.array([0, 1, 2, 3, 4, 0])
    found, terms = terms_of(model, images, labels)
    maps = tf.image.resize(found.features[-1], (16, 16)).numpy()
    kernel, bias = student.get_layer("logits").get_weights()
    winners = (maps @ kernel + bias).argmax(-1).reshape(6, -1)
    votes = [np.bincount(row, minlength=CLASSES) for row in winners]
    assert len(np.unique(winners)) > 2
    expected = [
        divergence_by_hand(*row)
        for row in zip(votes, found.logits.numpy(), labels, strict=True)
    ]
    np.testing.assert_allclose(terms["zipf"], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("votes", "shares"),
    [
        ([7, 3, 0, 1, 0], [0, 1, 1 / 3, 1 / 2, 1 / 3]),
        ([0, 0, 0, 0, 0], [0, 1, 1, 1, 1]),  # Nobody voted: uniform.
        ([9, 0, 0, 0, 0], [0, 1, 1, 1, 1]),
        ([0, 1, 2, 3, 4], [0, 1 / 4, 1 / 3, 1 / 2, 1]),
    ],
)
def test_ranks_by_votes(votes, shares):
    target = np.arange(5)[None] == 0
    ranks = zipf_ls.ranks_by_votes(tf.constant([votes]), target)
    found = zipf_ls.zipf(ranks, target)
    np.testing.assert_allclose(found[0], np.array(shares) / sum(shares), rtol=1e-6)


def test_gradients_are_those_of_finite_differences():
    logits = tf.constant(np.random.default_rng(0).normal(size=(3, CLASSES)))
    target = np.eye(CLASSES, dtype=bool)[[0, 3, 1]]
    shares = zipf_ls.zipf(
        zipf_ls.ranks_by_votes(tf.constant([[1, 0, 2, 0, 5]] * 3), target), target
    )
    theirs, ours = tf.test.compute_gradient(
        lambda z: zipf_ls.divergence_of_others(shares, z, target), [logits]
    )
    np.testing.assert_allclose(ours[0], theirs[0], atol=1e-6)


def test_a_label_that_the_loss_ignores_teaches_nothing():
    model = SelfDistillationModel(toys.classifier(), ZipfLS())
    images, labels = toys.class_data()
    known = labels != 1
    supervise = Supervision(toys.cross_entropy(ignore_class=255))
    labels = np.where(known, labels, 255)
    _, terms = terms_of(model, images, labels, supervise, labelled=known)
    assert np.all(np.isfinite(terms["zipf"]))
    assert not np.any(np.array(terms["zipf"])[~known])


def test_error_mixing():
    with pytest.raises(ValueError, match="not from mixed ones"):
        ZipfLS(mixing=Mixup())


def test_error_students():
    with pytest.raises(ValueError, match="at least three classes"):
        SelfDistillationModel(toys.classifier(classes=2), ZipfLS())
    images = keras.Input((16, 16, 3))
    x = keras.layers.Flatten()(toys.body(images))
    flat = keras.Model(images, keras.layers.Dense(4, name="last")(x))
    with pytest.raises(ValueError, match=r"after the last tap \w+$"):
        SelfDistillationModel(flat, ZipfLS())
    x = keras.layers.GlobalAveragePooling2D()(toys.body(images))
    x = keras.layers.LayerNormalization(name="norm")(x)
    other = keras.Model(images, keras.layers.Dense(4, name="last")(x))
    with pytest.raises(ValueError, match=r"last tap \w+, norm, last$"):
        SelfDistillationModel(other, ZipfLS())


def test_dropout_and_a_linear_activation_change_nothing():
    images = keras.Input((16, 16, 3))
    x = keras.layers.GlobalAveragePooling2D()(toys.body(images))
    x = keras.layers.Dense(4)(keras.layers.Dropout(0.5)(x))
    x = keras.layers.Activation("linear", dtype="float32")(x)
    assert SelfDistillationModel(keras.Model(images, x), ZipfLS())
