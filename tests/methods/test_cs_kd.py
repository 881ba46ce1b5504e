import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_selfkd import CSKD, Mixup, SelfDistillationModel, pairs_by_class
from tests import toys
from tests.methods.batches import batch_of, cross_entropy, gradients_of, terms_of
from tests.methods.distances import kl


def attached(student, **options):
    return SelfDistillationModel(student, CSKD(**options))


def flat_student():
    """Its logits are the sum of each channel: what runs through it is seen."""
    images = keras.Input((4, 4, toys.CLASSES))
    pooled = keras.layers.GlobalAveragePooling2D()(images)
    kernel = keras.initializers.Identity(16.0)
    logits = keras.layers.Dense(toys.CLASSES, kernel_initializer=kernel)(pooled)
    return keras.Model(images, logits)


def test_the_term_is_the_formula():
    images, pair = np.random.default_rng(0).normal(size=(2, 6, 4, 4, toys.CLASSES))
    model = attached(flat_student(), temperature=4.0)
    x = {"image": images, "pair": pair}
    _, terms = terms_of(model, x, np.zeros(6, "int32"))
    z, partners = images.sum((1, 2)), pair.sum((1, 2))
    np.testing.assert_allclose(terms["soft_label"], kl(partners, z, 4.0), 1e-4)


@pytest.mark.usefixtures("double")
def test_the_gradient_is_that_of_the_images_alone():
    model = attached(flat_student())
    pair = np.random.default_rng(1).normal(size=(3, 4, 4, toys.CLASSES))
    batch = model.method.prepare(batch_of({"image": pair, "pair": pair}, np.arange(3)))
    logits = np.random.default_rng(2).normal(size=(3, toys.CLASSES))
    ours, theirs = gradients_of(model.method, logits, batch)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)


def test_partners_are_normalised_by_themselves_and_counted():
    """In training mode, as the paper has it: BatchNorm learns of both."""
    model = attached(toys.classifier(stages=toys.FEW_STAGES))
    images, labels = toys.class_data(8)
    model.compile(keras.optimizers.SGD(0.0), toys.cross_entropy())
    pair = images + 1
    model.fit({"image": images, "pair": pair}, labels, batch_size=8, verbose=0)
    found = model.student.get_layer("bn2").moving_mean.numpy()
    one = toys.classifier(stages=toys.FEW_STAGES)
    one.set_weights(model.student.get_weights())
    norm = one.get_layer("bn2")
    norm.moving_mean.assign(tf.zeros_like(norm.moving_mean))
    for batch in (pair, images):
        one(batch, training=True)
    np.testing.assert_allclose(found, norm.moving_mean, rtol=1e-4, atol=1e-6)


def test_trains_on_paired_data():
    images, labels = toys.class_data(16)
    examples = tf.data.Dataset.from_tensor_slices((images, labels))
    data = pairs_by_class(examples).batch(8)
    model = attached(toys.classifier(stages=toys.FEW_STAGES))
    model.compile(keras.optimizers.SGD(0.05), toys.cross_entropy())
    losses = model.fit(data, epochs=8, shuffle=False, verbose=0).history["task_loss"]
    assert losses[-1] < 0.8 * losses[0]


def test_images_of_an_ignored_label_are_of_no_class():
    model = attached(toys.classifier(stages=toys.FEW_STAGES))
    images, labels = toys.class_data(2)
    x = {"image": images, "pair": images[::-1]}
    labelled = np.array([True, False])
    _, terms = terms_of(model, x, labels, labelled=labelled)
    assert terms["soft_label"][0] > 0
    assert terms["soft_label"][1] == 0


def test_error_data_without_partners():
    model = attached(toys.classifier(stages=toys.FEW_STAGES))
    model.compile("sgd", toys.cross_entropy())
    with pytest.raises(ValueError, match=r"CSKD needs 'pair'.*pairs_by_class"):
        model.fit(*toys.class_data(8), verbose=0)


def test_error_partners_of_another_size():
    model = attached(toys.classifier(stages=toys.FEW_STAGES))
    model.compile("sgd", toys.cross_entropy())
    images, labels = toys.class_data(8)
    x = {"image": images, "pair": images[:, ::2]}
    with pytest.raises(ValueError, match=r"'pair' to be images of the size"):
        model.fit(x, labels, verbose=0)


def test_error_mixing():
    with pytest.raises(ValueError, match="CSKD learns from images of one class"):
        CSKD(mixing=Mixup())


def test_no_partner_is_asked_where_its_weight_is_0():
    model = attached(toys.classifier(stages=toys.FEW_STAGES), soft_label_weight=0)
    images, labels = toys.class_data(4)
    batch = batch_of({"image": images, "pair": images}, labels)
    assert "pair_logits" not in model.method.prepare(batch)
    student = model.outputs_of(images)
    terms = model.method.loss_terms(student, batch, cross_entropy)
    assert terms.keys() == {"task"}
