import keras
import numpy as np
import pytest
from keras import layers

from keras_selfkd.taps import Tapped
from tests import toys


def tapped(student, taps=None, minimum=2):
    return Tapped(student, taps, minimum)


def shapes(taps):
    return [feature.shape[1:] for feature in taps.symbolic.features]


def functional(stack, name):
    images, layer = stack
    return keras.Model(images, layer(images), name=name)


def test_default_taps_are_the_end_of_each_resolution():
    taps = tapped(toys.classifier())
    assert taps.names == ["out1", "out2", "out3"]
    assert shapes(taps) == [(8, 8, 4), (4, 4, 6), (2, 2, 8)]


def test_names_reach_into_nested_models():
    taps = tapped(toys.nested_classifier())
    assert taps.names == ["backbone/out1", "backbone/out2", "backbone/out3"]
    again = tapped(toys.nested_classifier(), ["backbone/add1", "backbone/out3"])
    assert shapes(again) == [(8, 8, 4), (2, 2, 8)]
    assert shapes(tapped(toys.nested_classifier(), ["backbone"], 1)) == [(2, 2, 8)]


def test_reading_shares_every_variable_and_every_number():
    student = toys.nested_classifier()
    taps = tapped(student)
    images = toys.class_data(4)[0]
    outputs = taps(images)
    np.testing.assert_array_equal(outputs.logits, student(images))
    inner = student.get_layer("backbone")
    expected = keras.Model(inner.input, inner.get_layer("out2").output)(images)
    np.testing.assert_array_equal(outputs.features[1], expected)
    assert {id(v) for v in taps.model.variables} == {id(v) for v in student.variables}


def test_embedding_is_the_input_of_the_last_dense():
    outputs = tapped(toys.classifier())(toys.class_data(4)[0])
    pooled = np.mean(outputs.features[-1], axis=(1, 2))
    np.testing.assert_allclose(outputs.embedding, pooled, rtol=1e-5)
    assert tapped(toys.segmenter()).symbolic.embedding is None


def test_students_may_take_a_list_of_one_input():
    student = toys.classifier()
    student = keras.Model(student.inputs, student.output)
    taps = tapped(student)
    images = toys.class_data(4)[0]
    np.testing.assert_array_equal(taps(images).logits, student([images]))


@pytest.mark.parametrize("several", [False, True])
def test_nested_models_after_other_layers(several):
    """Preprocessing inside the student, and a backbone that returns a pyramid."""
    images = keras.Input((16, 16, 3))
    maps = toys.body(images)
    backbone = keras.Model(images, maps, name="backbone")
    if several:
        pyramid = {"fine": backbone.get_layer("out1").output, "coarse": maps}
        backbone = keras.Model(images, pyramid, name="backbone")
    outer = keras.Input((16, 16, 3))
    x = backbone(layers.Rescaling(1 / 255)(outer))
    x = layers.GlobalAveragePooling2D()(x["coarse"] if several else x)
    student = keras.Model(outer, layers.Dense(3)(x))
    taps = tapped(student)
    assert taps.names == ["backbone/out1", "backbone/out2", "backbone/out3"]
    data = np.random.default_rng(0).uniform(0, 255, (2, 16, 16, 3)).astype("float32")
    np.testing.assert_array_equal(taps(data).logits, student(data))


def test_sequential_and_nested_sequential():
    def convolutions():
        return [
            layers.Conv2D(4, 3, strides=2, activation="relu", name="a"),
            layers.Conv2D(6, 3, strides=2, activation="relu", name="b"),
        ]

    head = [layers.Flatten(), layers.Dense(3)]
    flat = keras.Sequential([keras.Input((16, 16, 1)), *convolutions(), *head])
    assert tapped(flat).names == ["a", "b"]
    body = keras.Sequential([keras.Input((16, 16, 1)), *convolutions()], name="body")
    nested = keras.Sequential([keras.Input((16, 16, 1)), body, layers.Flatten()])
    nested.add(layers.Dense(3))
    assert tapped(nested).names == ["body/a", "body/b"]


def test_nested_backbone_without_a_fixed_size_takes_the_inputs():
    anything = keras.Input((None, None, 3))
    backbone = keras.Model(anything, toys.body(anything), name="backbone")
    images = keras.Input((32, 16, 3))
    x = layers.GlobalAveragePooling2D()(backbone(images))
    taps = tapped(keras.Model(images, layers.Dense(3)(x)))
    assert shapes(taps) == [(16, 8, 4), (8, 4, 6), (4, 2, 8)]


@pytest.mark.parametrize("trainable", [True, False])
def test_training_mode_is_kerass_own_also_in_nested_calls(trainable):
    """Keras lets `training=True` of the outer call win over a nested call's False."""
    images = keras.Input((16, 16, 3))
    backbone = keras.Model(images, toys.body(images), name="backbone")
    backbone.trainable = trainable
    outer = keras.Input((16, 16, 3))
    x = layers.GlobalAveragePooling2D()(backbone(outer, training=False))
    student = keras.Model(outer, layers.Dense(3)(x))
    before = student.get_weights()
    data = toys.class_data(4)[0]
    student(data, training=True)
    by_keras = student.get_weights()
    student.set_weights(before)
    tapped(student)(data, training=True)
    for keras_weight, weight in zip(by_keras, student.get_weights(), strict=True):
        np.testing.assert_array_equal(keras_weight, weight)


def test_layers_called_twice_get_numbered_names():
    relu = layers.ReLU(name="relu")
    images = keras.Input((16, 16, 1))
    x = relu(layers.Conv2D(4, 3, strides=2)(images))
    x = relu(layers.Conv2D(5, 3, strides=2)(x))
    student = keras.Model(images, layers.Dense(3)(layers.Flatten()(x)))
    taps = tapped(student)
    assert taps.names == ["relu", "relu:1"]
    assert shapes(taps) == [(7, 7, 4), (3, 3, 5)]


@pytest.mark.parametrize("build", [keras.Sequential, functional])
def test_parts_called_again_are_called_whole(build):
    """Weight sharing in a row: Keras cannot clone a part on its own output."""
    conv = layers.Conv2D(4, 3, padding="same", activation="relu", name="conv")
    block = build([keras.Input((8, 8, 4)), conv], name="block")
    images = keras.Input((16, 16, 1))
    x = layers.Conv2D(4, 3, strides=2, padding="same", name="a")(images)
    x = block(block(block(x)))
    x = layers.Conv2D(4, 3, strides=2, name="b")(x)
    student = keras.Model(images, layers.Dense(3)(layers.Flatten()(x)))
    for names in (["block:2", "b"], ["block/conv", "b"], ["block:1", "b"]):
        taps = tapped(student, names)
        data = np.random.default_rng(0).normal(size=(2, 16, 16, 1)).astype("float32")
        np.testing.assert_array_equal(taps(data).logits, student(data))
    assert tapped(student).names == ["block:2", "b"]
    assert len(tapped(student).model.trainable_variables) == 8
    assert "block:1" in error(student, ["block:1/conv", "b"])


def test_skips_across_a_map_rule_it_out():
    images = keras.Input((16, 16, 1))
    a = layers.Conv2D(4, 3, strides=2, padding="same", name="a")(images)
    b = layers.Conv2D(4, 3, strides=2, padding="same", name="b")(a)
    across = layers.AveragePooling2D(4, name="across")(a)
    c = layers.Conv2D(4, 3, strides=2, padding="same", name="c")(b)
    x = layers.Add(name="joined")([across, c])
    student = keras.Model(images, layers.Dense(3)(layers.Flatten()(x)))
    assert tapped(student).names == ["a", "joined"]


def test_padding_and_images_are_no_taps():
    images = keras.Input((16, 16, 1))
    x = layers.Rescaling(2.0, name="scaled")(images)
    x = layers.Conv2D(4, 3, strides=2, padding="same", name="a")(x)
    x = layers.ZeroPadding2D(1, name="padded")(x)
    x = layers.Conv2D(5, 3, strides=2, name="b")(x)
    student = keras.Model(images, layers.Dense(3)(layers.Flatten()(x)))
    assert tapped(student).names == ["a", "b"]


def test_keeps_the_four_coarsest():
    x = images = keras.Input((64, 64, 1))
    for i in range(6):
        x = layers.Conv2D(3, 3, strides=2, padding="same", name=f"conv{i}")(x)
    student = keras.Model(images, layers.Dense(3)(layers.Flatten()(x)))
    # The last map has one position.
    assert tapped(student).names == ["conv1", "conv2", "conv3", "conv4"]


def test_pixel_students_are_tapped_on_the_way_up():
    taps = tapped(toys.segmenter())
    assert taps.names == ["full", "decoded2", "decoded1", "out3"]
    assert [shape[0] for shape in shapes(taps)] == [16, 8, 4, 2]


def test_methods_on_logits_need_no_maps():
    tokens = keras.Input((12, 8))
    student = keras.Model(
        tokens, layers.Dense(3)(layers.GlobalAveragePooling1D()(tokens))
    )
    assert tapped(student, minimum=0).names == []


def error(student, taps=None, minimum=2):
    with pytest.raises(ValueError) as raised:
        tapped(student, taps, minimum)
    return str(raised.value)


def test_error_unknown_tap_names_the_closest():
    message = error(toys.nested_classifier(), ["backbone/ou1", "backbone/out3"])
    assert "Unknown tap 'backbone/ou1'" in message
    assert "backbone/out1" in message


def test_error_too_few_taps():
    images = keras.Input((16, 16, 1))
    x = layers.Conv2D(4, 3, name="only")(images)
    student = keras.Model(images, layers.Dense(3)(layers.Flatten()(x)), name="shallow")
    message = error(student)
    assert "at least 2 taps" in message
    assert "student='shallow'" in message
    assert "its maps are: only" in message


def test_error_not_a_map():
    assert "Received: tap 'pool' with shape (None, 8)" in error(
        toys.classifier(), ["out1", "pool"]
    )


def test_taps_of_any_order_are_read():
    """Only a pyramid needs them to fall."""
    assert Tapped(toys.classifier(), ["out2", "out1"]).names == ["out2", "out1"]


def test_a_decoder_that_shrinks_again_keeps_its_rising_maps():
    student = toys.segmenter()
    smaller = keras.layers.AveragePooling2D(2)(student.get_layer("decoded2").output)
    logits = keras.layers.Conv2D(3, 1)(smaller)
    tapped = Tapped(keras.Model(student.input, logits), minimum=2)
    assert tapped.names == ["decoded2", "decoded1", "out3"]
