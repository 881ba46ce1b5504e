import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import softmax

from keras_selfkd import DDGSD, Outputs, SelfDistillationModel
from keras_selfkd.methods import ddgsd
from tests import toys
from tests.methods.batches import batch_of, terms_of
from tests.methods.batches import cross_entropy as supervise
from tests.methods.distances import cross_entropy, kl


def test_the_terms_are_the_formula():
    model = SelfDistillationModel(toys.classifier(), DDGSD(temperature=2.0))
    images, labels = toys.class_data(6)
    view = images[:, :, ::-1] + 0.3
    student, terms = terms_of(model, {"image": images, "view": view}, labels)
    u, v = np.split(np.array(student.logits), 2)
    f, g = np.split(np.array(student.embedding), 2)
    expected = {
        "task": (cross_entropy(labels, u) + cross_entropy(labels, v)) / 2,
        "soft_label": kl(u, v, 2.0) + kl(v, u, 2.0),
        "feature": ((f.mean(0) - g.mean(0)) ** 2).sum(),
    }
    assert terms.keys() == expected.keys()
    for name, term in terms.items():
        np.testing.assert_allclose(term, expected[name], 1e-4, 1e-6, err_msg=name)


@pytest.mark.usefixtures("double")
def test_the_gradient_flows_into_the_taught_view_alone():
    method = DDGSD(feature_weight=0)
    SelfDistillationModel(toys.classifier(stages=toys.FEW_STAGES), method)
    z = np.random.default_rng(0).normal(size=(4, toys.CLASSES))
    batch = batch_of(np.zeros((4, 1)), np.array([0, 1]))
    with tf.GradientTape() as tape:
        logits = tf.Variable(z)
        terms = method.loss_terms(Outputs(logits, []), batch, supervise)
        total = sum(tf.reduce_sum(terms[name]) for name in terms)
    ours = tape.gradient(total, logits)
    # Each view learns half of its label, and the other view, which stands still.
    soft, others = softmax(z / 4, axis=-1), softmax(z[[2, 3, 0, 1]] / 4, axis=-1)
    labels = np.tile(np.eye(toys.CLASSES)[:2], (2, 1))
    expected = (softmax(z, axis=-1) - labels) / 2 + 4 * (soft - others)
    np.testing.assert_allclose(ours, expected, 1e-6)


def test_a_mean_is_of_the_examples_that_count():
    one, other = np.random.default_rng(0).normal(size=(2, 5, 3))
    counts = np.array([True, False, True, True, False])
    expected = ((one[counts].mean(0) - other[counts].mean(0)) ** 2).sum()
    found = ddgsd.distance_of_means(tf.constant(one), tf.constant(other), counts)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    nothing = ddgsd.distance_of_means(
        tf.constant(one), tf.constant(other), np.zeros(5, bool)
    )
    assert float(nothing) == 0.0


def test_a_layer_makes_both_views():
    flips = keras.layers.RandomFlip("horizontal", seed=1)
    model = SelfDistillationModel(toys.classifier(), DDGSD(augmentation=flips))
    images, labels = toys.class_data(8)
    views = np.array(model.method.prepare(batch_of(images, labels))["x"])
    assert views.shape == (16, 16, 16, 3)
    twice = [*images, *images]
    flipped = [not np.array_equal(v, i) for v, i in zip(views, twice, strict=True)]
    assert 0 < sum(flipped) < 16
    assert flipped[:8] != flipped[8:]


def test_saved_with_its_layer_it_goes_on(tmp_path):
    flips = keras.layers.RandomFlip("horizontal", seed=1)
    student = toys.classifier(stages=toys.FEW_STAGES)
    model = SelfDistillationModel(student, DDGSD(augmentation=flips))
    model.compile(keras.optimizers.SGD(0.05), toys.cross_entropy())
    data = toys.class_data(8)
    model.fit(*data, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.method.needs == ()
    for one in (model, loaded):
        one.fit(*data, verbose=0, shuffle=False)
    for ours, theirs in zip(model.weights, loaded.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_student_without_embedding_has_no_such_term():
    images = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(toys.CLASSES, 3)(images)
    student = keras.Model(images, keras.layers.GlobalAveragePooling2D()(x))
    model = SelfDistillationModel(student, DDGSD())
    assert model.method.loss_weights.keys() == {"task", "soft_label"}
    assert model.method.get_config()["feature_weight"] == 5e-4


def test_error_augmentation():
    with pytest.raises(ValueError, match="augmentation to be a Keras layer"):
        DDGSD(augmentation=lambda images: images)


def test_error_pixels():
    with pytest.raises(ValueError, match="DDGSD is for classifiers"):
        SelfDistillationModel(toys.segmenter(), DDGSD())
