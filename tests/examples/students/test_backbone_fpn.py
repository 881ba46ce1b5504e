import keras
import numpy as np
import pytest

from examples.students.convnets import small_resnet
from examples.students.segmenters import fpn_on
from keras_selfkd import FRSKD, SelfDistillationModel
from tests import toys


def test_starts_from_the_classifiers_weights_and_leaves_them_alone():
    backbone = small_resnet((32, 32, 3), classes=10)
    before = backbone.get_weights()
    student = fpn_on(backbone, (40, 56, 3), classes=4, channels=8)
    assert tuple(student.output.shape) == (None, 40, 56, 4)
    shared = {layer.name for layer in backbone.layers if layer.weights} - {"logits"}
    own = {layer.name for layer in student.layers}
    assert shared <= own
    for name in shared:
        theirs = backbone.get_layer(name).get_weights()
        ours = student.get_layer(name).get_weights()
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(one, other, err_msg=name)
    model = SelfDistillationModel(student, FRSKD(channels=8, depth=1))
    model.compile(keras.optimizers.SGD(0.1), toys.cross_entropy())
    images = np.random.default_rng(0).normal(size=(2, 40, 56, 3)).astype("float32")
    model.train_on_batch(images, np.zeros((2, 40, 56), "int32"))
    for one, other in zip(backbone.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_nested_backbone_keeps_its_weights_too():
    backbone = toys.nested_classifier()
    student = fpn_on(backbone, (32, 32, 3), classes=4, channels=8)
    kernel = backbone.get_layer("backbone").get_layer("conv1").kernel
    kept = [w for w in student.get_weights() if w.shape == kernel.shape]
    assert any(np.array_equal(weight, kernel) for weight in kept)


def test_what_was_frozen_when_the_backbone_was_trained_is_no_longer():
    backbone = small_resnet((32, 32, 3), classes=10)
    backbone.get_layer("stage1_block1_conv1").trainable = False
    student = fpn_on(backbone, (32, 32, 3), classes=4, channels=8)
    assert all(layer.trainable for layer in student.layers)


def test_error_other_channels():
    with pytest.raises(ValueError, match=r"images of 3 channels.*\(32, 32, 1\)"):
        fpn_on(small_resnet((32, 32, 1), 10), (32, 32, 3), classes=4)


def test_error_a_size_that_it_cannot_take():
    images = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(4, 3, strides=2)(images)
    x = keras.layers.Flatten()(keras.layers.Conv2D(8, 3, strides=2)(x))
    backbone = keras.Model(images, keras.layers.Dense(5)(x))
    with pytest.raises(ValueError, match=r"any size.*cannot take \(32, 32, 3\)"):
        fpn_on(backbone, (32, 32, 3), classes=4)
