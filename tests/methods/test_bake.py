import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import log_softmax, softmax

from keras_selfkd import BAKE, Outputs, SelfDistillationModel, pairs_by_class
from keras_selfkd.methods import bake
from tests import toys
from tests.methods.batches import batch_of
from tests.methods.batches import cross_entropy as supervise


def target_of(logits, embeddings, share, temperature):
    """The target by the series `(1 - w) sum_k (w A)^k P`."""
    unit = embeddings / np.linalg.norm(embeddings, axis=-1, keepdims=True)
    affinity = np.exp(unit @ unit.T)
    np.fill_diagonal(affinity, 0)
    affinity /= affinity.sum(-1, keepdims=True)
    p = softmax(logits / temperature, axis=-1)
    total, term = np.zeros_like(p), (1 - share) * p
    for _ in range(400):
        total, term = total + term, share * affinity @ term
    return total


def outputs():
    random = np.random.default_rng(0)
    return random.normal(size=(6, 4)), random.normal(size=(6, 5))


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_the_target_is_the_series(share):
    logits, embeddings = outputs()
    p = softmax(logits / 4.0, axis=-1)
    found = bake.of_neighbours(tf.constant(p), tf.constant(embeddings), share)
    np.testing.assert_allclose(found, target_of(logits, embeddings, share, 4.0), 1e-6)


def test_the_term_is_the_formula():
    logits, embeddings = outputs()
    method = BAKE(class_mates=False)
    SelfDistillationModel(toys.classifier(), method)
    student = Outputs(tf.constant(logits), [], tf.constant(embeddings))
    batch = batch_of(np.zeros((6, 1)), np.arange(6) % 4)
    terms = method.loss_terms(student, batch, supervise)
    q = target_of(logits, embeddings, 0.9, 4.0)
    expected = 16 * (q * (np.log(q) - log_softmax(logits / 4, axis=-1))).sum(-1)
    np.testing.assert_allclose(terms["soft_label"], expected, rtol=1e-5)


def test_the_target_is_not_trained():
    logits, embeddings = map(tf.constant, outputs())
    method = BAKE(class_mates=False)
    SelfDistillationModel(toys.classifier(), method)
    batch = batch_of(np.zeros((6, 1)), np.arange(6) % 4)
    with tf.GradientTape() as tape:
        tape.watch([logits, embeddings])
        student = Outputs(logits, [], embeddings)
        term = method.loss_terms(student, batch, supervise)["soft_label"]
    ours, none = tape.gradient(term, [logits, embeddings])
    assert none is None
    q = target_of(logits.numpy(), embeddings.numpy(), 0.9, 4.0)
    expected = 4 * (softmax(logits.numpy() / 4, axis=-1) - q)
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-7)


def test_an_image_alone_is_its_own_teacher():
    p = np.array([[0.2, 0.8]])
    found = bake.of_neighbours(tf.constant(p), tf.constant([[1.0, 2.0]]), 0.9)
    np.testing.assert_allclose(found, p, rtol=1e-5)


def test_an_embedding_of_zeros_stays_finite():
    """As after a ReLU that lets nothing through; its gradient too."""
    embeddings = tf.Variable(tf.zeros((3, 4)))
    with tf.GradientTape() as tape:
        found = bake.of_neighbours(tf.constant([[0.5, 0.5]] * 3), embeddings, 0.9)
    assert np.all(np.isfinite(found))
    assert np.all(np.isfinite(tape.gradient(found, embeddings)))


def test_an_image_of_weight_0_is_nobodys_neighbour():
    logits, embeddings = outputs()
    p = softmax(logits, axis=-1)
    counts = np.array([True] * 5 + [False])
    found = bake.of_neighbours(tf.constant(p), tf.constant(embeddings), 0.9, counts)
    alone = bake.of_neighbours(tf.constant(p[:5]), tf.constant(embeddings[:5]), 0.9)
    np.testing.assert_allclose(found[:5], alone, rtol=1e-6)


def test_trains_on_class_mates():
    images, labels = toys.class_data(16)
    examples = tf.data.Dataset.from_tensor_slices((images, labels))
    student = toys.classifier(stages=toys.FEW_STAGES)
    model = SelfDistillationModel(student, BAKE())
    model.compile(keras.optimizers.SGD(0.05), toys.cross_entropy())
    data = pairs_by_class(examples).batch(8)
    losses = model.fit(data, epochs=8, shuffle=False, verbose=0).history["task_loss"]
    assert losses[-1] < 0.8 * losses[0]


def test_error_data_without_class_mates():
    model = SelfDistillationModel(toys.classifier(stages=toys.FEW_STAGES), BAKE())
    model.compile("sgd", toys.cross_entropy())
    with pytest.raises(ValueError, match=r"BAKE needs 'pair'.*pairs_by_class"):
        model.fit(*toys.class_data(8), verbose=0)


def test_error_student_without_embedding():
    images = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(toys.CLASSES, 3)(images)
    student = keras.Model(images, keras.layers.GlobalAveragePooling2D()(x))
    with pytest.raises(ValueError, match="does not end in one"):
        SelfDistillationModel(student, BAKE())


def test_error_propagation():
    with pytest.raises(ValueError, match="propagation"):
        BAKE(propagation=1)
