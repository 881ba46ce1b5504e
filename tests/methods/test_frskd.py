import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_selfkd import FRSKD, SelfDistillationModel, SigmoidRampUp
from keras_selfkd.losses import (
    attention_transfer,
    fitnet_hint,
    normalized_mse,
    soft_label,
)
from tests import toys

SMALL = {"width": 1, "depth": 1}
pytestmark = pytest.mark.filterwarnings("ignore:The self-teacher has:UserWarning")


def build(student=None, **options):
    return SelfDistillationModel(
        student or toys.classifier(), FRSKD(**SMALL, **options)
    )


def test_terms_are_the_papers_formula():
    model = build(temperature=3.0)
    images, labels = toys.class_data()
    student = model.outputs_of(images, training=True)
    cross_entropy = keras.losses.sparse_categorical_crossentropy
    terms = model.method.loss_terms(
        student,
        {"y": labels, "valid": None},
        lambda y, z: cross_entropy(y, z, from_logits=True),
    )
    teacher, *refined = model.method.self_teacher(student.features, training=True)
    expected = {
        "task": cross_entropy(labels, student.logits, from_logits=True),
        "teacher_task": cross_entropy(labels, teacher, from_logits=True),
        "soft_label": soft_label(teacher, student.logits, temperature=3.0),
        "feature": sum(
            attention_transfer(t, f)
            for t, f in zip(refined, student.features, strict=True)
        ),
    }
    for name, values in expected.items():
        np.testing.assert_allclose(terms[name], values, rtol=1e-5, err_msg=name)


def test_terms_are_logged_times_their_weights_and_add_up():
    logs = []
    for weights in ((1.0, 1.0), (3.0, 7.0)):
        keras.utils.clear_session(free_memory=False)
        keras.utils.set_random_seed(0)
        model = build(soft_label_weight=weights[0], feature_weight=weights[1])
        model.compile("sgd", toys.cross_entropy())
        logs.append(model.train_on_batch(*toys.class_data(), return_dict=True))
    one, other = logs
    weighted = {"soft_label_loss": 3.0, "feature_loss": 7.0}
    terms = one.keys() - {"loss"}
    for name in terms:
        expected = weighted.get(name, 1.0) * one[name]
        np.testing.assert_allclose(other[name], expected, rtol=1e-5, err_msg=name)
    total = sum(other[name] for name in terms)
    np.testing.assert_allclose(other["loss"], total, rtol=1e-5)


def test_the_teachers_own_loss_trains_the_student_through_the_taps():
    model = build()
    images, labels = toys.class_data()
    with tf.GradientTape() as tape:
        student = model.outputs_of(images, training=True)
        logits, *_ = model.method.self_teacher(student.features, training=True)
        loss = keras.losses.sparse_categorical_crossentropy(labels, logits, True)
    conv = model.student.get_layer("down1").kernel
    assert float(tf.norm(tape.gradient(loss, conv.value))) > 0.0


def test_regressors_of_the_fitnet_hint_are_trained_and_saved(tmp_path):
    model = build(feature_loss=fitnet_hint, feature_weight=1.0)
    model.compile("sgd", toys.cross_entropy())
    regressors = [w for p in model.method.projections for w in p.trainable_weights]
    before = [weight.numpy() for weight in regressors]
    model.fit(*toys.class_data(), verbose=0)
    for weight, value in zip(regressors, before, strict=True):
        assert np.any(weight.numpy() != value), weight.path
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for one, other in zip(model.weights, loaded.weights, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("create", [toys.classifier, toys.segmenter])
def test_stacked_pyramids_have_no_dead_branch(create):
    options = {"channels": 4, "depth": 2, "repeats": 2}
    model = SelfDistillationModel(create(), FRSKD(**options))
    data = toys.class_data if create is toys.classifier else toys.pixel_data
    images, labels = data(4)
    with tf.GradientTape() as tape:
        student = model.outputs_of(images, training=True)
        logits, *_ = model.method.self_teacher(student.features, training=True)
        loss = keras.losses.sparse_categorical_crossentropy(labels, logits, True)
    weights = model.method.self_teacher.trainable_variables
    gradients = tape.gradient(loss, [weight.value for weight in weights])
    for weight, gradient in zip(weights, gradients, strict=True):
        assert gradient is not None, weight.path
        assert float(tf.norm(gradient)) > 0.0, weight.path


def test_weights_may_be_schedules():
    ramp = SigmoidRampUp(start=2, end=4, peak=10.0)
    model = build(soft_label_weight=0.0, feature_weight=ramp)
    model.compile(keras.optimizers.SGD(0.0), toys.cross_entropy())
    data = toys.class_data()
    losses = []
    for _ in range(6):
        model.reset_metrics()
        losses.append(model.train_on_batch(*data, return_dict=True)["feature_loss"])
    # Nothing is learned, so that only the weight changes.
    expected = [float(ramp(step)) / 10.0 for step in range(6)]
    np.testing.assert_allclose(np.array(losses) / losses[-1], expected, atol=2e-3)


def test_default_weight_is_the_feature_losss():
    assert FRSKD().feature_weight == 100.0
    nfd = FRSKD(feature_loss=normalized_mse)
    assert nfd.feature_weight == normalized_mse.default_weight
    assert FRSKD(feature_weight=5.0).loss_weights == {
        "task": 1.0,
        "teacher_task": 1.0,
        "soft_label": 2.0,
        "feature": 5.0,
    }


def test_normalized_mse_projects_where_channels_differ():
    same = build(feature_loss=normalized_mse)
    assert not [v for p in same.method.projections for v in p.variables]
    model = SelfDistillationModel(
        toys.classifier(), FRSKD(channels=6, feature_loss=normalized_mse)
    )
    shapes = [[v.shape for v in p.variables] for p in model.method.projections]
    # The taps have 4, 6 and 8 channels.
    assert shapes == [[(1, 1, 4, 6)], [], [(1, 1, 8, 6)]]


@keras.saving.register_keras_serializable(package="tests")
class ScaledDifference(keras.layers.Layer):
    def build(self, target_shape, prediction_shape=None):
        self.scale = self.add_weight(shape=(), initializer="ones", name="scale")

    def call(self, target, prediction, mask=None):
        difference = keras.ops.mean(target, -1) - keras.ops.mean(prediction, -1)
        return keras.ops.mean(keras.ops.square(self.scale * difference), (1, 2))


def test_a_layer_as_feature_loss_is_trained_and_saved(tmp_path):
    layer = ScaledDifference()
    layer.build(None)
    layer.built = True
    model = build(feature_loss=layer, feature_weight=1.0)
    model.compile("sgd", toys.cross_entropy())
    model.fit(*toys.class_data(), verbose=0)
    assert float(layer.scale) != 1.0
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert float(loaded.method.feature_loss.scale) == float(layer.scale)


def test_single_logit_students():
    images, labels = toys.class_data()
    model = build(toys.classifier(classes=1))
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.01), loss, metrics=["binary_accuracy"])
    history = model.fit(images, (labels % 2)[:, None], epochs=3, verbose=0).history
    assert np.all(np.isfinite(history["loss"]))
    assert history["soft_label_loss"][0] > 0.0


def test_partly_frozen_students():
    student = toys.classifier()
    frozen = ("down1", "conv1", "bn1")
    for name in frozen:
        student.get_layer(name).trainable = False
    model = build(student)
    model.compile("sgd", toys.cross_entropy())
    before = student.get_weights()
    model.fit(*toys.class_data(), verbose=0)
    after = student.get_weights()
    for weight, old, new in zip(student.weights, before, after, strict=True):
        layer = weight.path.split("/")[0]
        assert np.array_equal(old, new) == (layer in frozen), weight.path


def test_warns_once_if_the_self_teacher_is_larger():
    with pytest.warns(UserWarning, match="`width=1` or `channels=64` makes it smaller"):
        SelfDistillationModel(toys.classifier(), FRSKD())


def test_error_second_attach():
    method = FRSKD(**SMALL)
    SelfDistillationModel(toys.classifier(), method)
    with pytest.raises(ValueError, match="already belongs to a student"):
        SelfDistillationModel(toys.classifier(), method)


@pytest.mark.parametrize(
    "function",
    [
        lambda target, prediction, mask=None: 0.0,
        functools.partial(attention_transfer, mask=None),
    ],
)
def test_error_unregistered_feature_loss(function):
    with pytest.raises(ValueError, match="register_keras_serializable"):
        FRSKD(feature_loss=function, feature_weight=1.0)


def test_error_no_default_weight():
    with pytest.raises(ValueError, match="pass `feature_weight"):
        FRSKD(feature_loss=ScaledDifference())


@pytest.mark.parametrize(
    "name", ["temperature", "width", "depth", "repeats", "channels"]
)
def test_error_out_of_range(name):
    with pytest.raises(
        ValueError, match=f"Expected {name} to be .* Received: {name}=0"
    ):
        FRSKD(**{name: 0})
