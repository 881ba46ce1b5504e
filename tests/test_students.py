import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from keras_selfkd import (
    FRSKD,
    FRSKD_SLA,
    Late,
    MixSKD,
    SelfDistillationModel,
    Supervised,
    Taught,
)
from keras_selfkd.taps import Tapped
from tests import toys

pytestmark = pytest.mark.filterwarnings("ignore:The self-teacher has:UserWarning")


def error(student, taps=None, minimum=2):
    with pytest.raises(ValueError) as raised:
        Tapped(student, taps, minimum)
    return str(raised.value)


def small(classes=3, ahead=(), inside=(), after=(), **head):
    """Layers `ahead` of the first convolution, `inside`, and `after` the Dense."""
    x = images = keras.Input((8, 8, 3))
    for layer in ahead:
        x = layer(x)
    x = layers.Conv2D(4, 3, padding="same", name="first")(x)
    for layer in inside:
        x = layer(x)
    x = layers.Conv2D(4, 3, strides=2, name="second")(x)
    x = layers.Dense(classes, **head)(layers.GlobalAveragePooling2D()(x))
    for layer in after:
        x = layer(x)
    return keras.Model(images, x, name="small")


def pixels(activation=None, after=(), classes=3):
    x = images = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, strides=2, padding="same")(x)
    x = layers.Conv2D(classes, 1, activation=activation)(x)
    for layer in after:
        x = layer(x)
    return keras.Model(images, x, name="pixels")


class OwnHead(layers.Layer):
    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 3))

    def call(self, x):
        return tf.nn.softmax(x @ self.kernel)


def by_hand(x):
    powers = keras.ops.exp(x)
    return powers / keras.ops.sum(powers, axis=-1, keepdims=True)


def frozen(student):
    student.trainable = False
    return student


def nested_softmax():
    return keras.Sequential([keras.Input((3,)), layers.Softmax()], name="nested")


PROBABILITIES = {
    "name": lambda: small(activation="softmax"),
    "keras": lambda: small(activation=keras.activations.softmax),
    "tensorflow": lambda: small(activation=tf.nn.softmax),
    "own": lambda: small(activation=lambda x: keras.ops.softmax(x)),
    "sparsemax": lambda: small(activation="sparsemax"),
    "sigmoid": lambda: small(activation="sigmoid"),
    "hard_sigmoid": lambda: small(activation="hard_sigmoid"),
    "one_sigmoid": lambda: small(1, activation=tf.nn.sigmoid),
    "from_zeros": lambda: small(activation="sigmoid", kernel_initializer="zeros"),
    "frozen": lambda: frozen(small(activation="softmax")),
    "layer": lambda: small(after=[layers.Softmax()]),
    "activation": lambda: small(after=[layers.Activation(tf.nn.softmax)]),
    "lambda": lambda: small(after=[layers.Lambda(tf.nn.softmax)]),
    "call": lambda: small(after=[keras.ops.softmax]),
    "by_hand": lambda: small(after=[by_hand]),
    "nested": lambda: small(after=[nested_softmax()]),
    "own_head": lambda: small(after=[OwnHead()]),
    "batch_norm": lambda: small(after=[layers.BatchNormalization(), layers.Softmax()]),
    "pixels": lambda: pixels("softmax"),
    "one_pixel_logit": lambda: pixels("sigmoid", classes=1),
    "resized": lambda: pixels(tf.nn.softmax, [layers.Resizing(8, 8)]),
    "pooled": lambda: pixels("softmax", [layers.GlobalAveragePooling2D()]),
}
LOGITS = {
    **{
        str(name): lambda name=name: small(activation=name)
        for name in (None, "relu", "tanh", "softplus", "relu6", "gelu")
    },
    "one": lambda: small(1),
    "from_zeros": lambda: small(kernel_initializer="zeros"),
    "frozen": lambda: frozen(small()),
    "scaled": lambda: small(after=[layers.Rescaling(0.1)]),
    "batch_norm": lambda: small(after=[layers.BatchNormalization()]),
    "pixels": lambda: pixels(after=[layers.UpSampling2D(interpolation="bilinear")]),
    "bytes": lambda: keras.Model(
        (images := keras.Input((8, 8, 3), dtype="uint8")),
        layers.Dense(3)(layers.Flatten()(layers.Rescaling(1 / 255)(images))),
    ),
    "softmax_inside": lambda: small(after=[layers.Softmax(), layers.Dense(3)]),
}


@pytest.mark.parametrize("name", PROBABILITIES)
def test_error_probabilities_whatever_makes_them(name):
    message = error(PROBABILITIES[name](), minimum=0)
    assert "must output logits, but it ends in probabilities" in message
    assert "`classifier_activation=None`" in message
    assert "Received: student=" in message


@pytest.mark.parametrize(
    "function", ["log_softmax", tf.nn.log_softmax, "log_sigmoid", tf.math.log_sigmoid]
)
def test_error_log_probabilities(function):
    assert "ends in log-probabilities" in error(small(activation=function), minimum=0)
    assert "ends in log-probabilities" in error(pixels(function), minimum=0)


@pytest.mark.parametrize("name", LOGITS)
def test_other_outputs_are_logits(name):
    Tapped(LOGITS[name](), minimum=0)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_kinds_of_outputs_in_low_precision(policy):
    keras.config.set_dtype_policy(policy)
    students = [small(activation=name) for name in (None, "softmax", "log_softmax")]
    keras.config.set_dtype_policy("float32")
    logits, probabilities, logarithms = students
    Tapped(logits, minimum=0)
    assert "ends in probabilities" in error(probabilities)
    assert "ends in log-probabilities" in error(logarithms)


def test_looking_at_the_output_changes_nothing():
    student = small(ahead=[layers.RandomFlip()], after=[layers.BatchNormalization()])
    before = [variable.numpy() for variable in student.variables]
    with pytest.raises(ValueError, match="compares several views"):
        Tapped(student, minimum=0).check_images_are_kept()
    for old, variable in zip(before, student.variables, strict=True):
        np.testing.assert_array_equal(old, variable)


def test_activations_inside_the_network_are_fine():
    images = keras.Input((16, 16, 3))
    x = toys.body(images)
    gate = layers.Dense(8, activation="sigmoid")(layers.GlobalAveragePooling2D()(x))
    x = layers.Multiply()([x, layers.Reshape((1, 1, 8))(gate)])
    student = keras.Model(images, layers.Dense(3)(layers.Flatten()(x)))
    assert len(Tapped(student, minimum=2).names) == 3


def test_a_gate_that_comes_last_is_no_probability():
    images = keras.Input((8, 8, 3))
    x = layers.Flatten()(images)
    logits = layers.Dense(3)(x)
    gate = layers.Dense(3, activation="sigmoid")(x)
    Tapped(keras.Model(images, layers.Multiply()([logits, gate])), minimum=0)


def test_error_subclassed_student():
    class Subclassed(keras.Model):
        def call(self, images):
            return images

    assert "keras.Model(inputs, outputs)" in error(Subclassed())
    assert "Received: student=<Subclassed" in error(Subclassed())
    unbuilt = error(keras.Sequential([layers.Dense(3)]))
    assert "begin the Sequential with `keras.Input(shape)`" in unbuilt
    assert "Received: student='resnet18'" in error("resnet18")


@pytest.mark.parametrize("pack", [lambda x: [x], lambda x: {"logits": x}])
def test_error_logits_in_a_list_or_a_dict(pack):
    student = toys.classifier()
    packed = keras.Model(student.inputs, pack(student.output))
    with pytest.raises(ValueError, match=r"`keras.Model\(inputs, logits\)`"):
        SelfDistillationModel(packed, Supervised())


def test_error_several_inputs_or_outputs():
    a, b = keras.Input((8, 8, 1), name="a"), keras.Input((8, 8, 1), name="b")
    x = layers.Conv2D(3, 3)(layers.Add()([a, b]))
    assert "2 inputs and 1 outputs" in error(keras.Model([a, b], x))
    two = keras.Model(a, [layers.Conv2D(3, 3)(a), layers.Conv2D(3, 3)(a)])
    assert "1 inputs and 2 outputs" in error(two)


def test_error_unknown_size():
    images = keras.Input((None, None, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(3, 3)(images))
    message = error(keras.Model(images, layers.Dense(2)(x)))
    assert "`input_shape=(height, width, channels)`" in message
    assert "(None, None, None, 3)" in message


def test_error_channels_first():
    images = keras.Input((3, 16, 16))
    x = layers.Conv2D(4, 3, data_format="channels_first", name="conv")(images)
    student = keras.Model(images, layers.Dense(3)(layers.Flatten()(x)))
    assert "layer 'conv' with data_format='channels_first'" in error(student)


def test_error_a_preprocessor_of_its_own():
    """As keras-hub's tasks have one: it is not part of their graph."""
    student = small()
    student.preprocessor = layers.Rescaling(1 / 255)
    for role in ("student", "teacher"):
        with pytest.raises(ValueError) as raised:
            Tapped(student, role=role)
        message = str(raised.value)
        assert "`dataset.map(task.preprocessor)`" in message
        assert "`task.preprocessor = None`" in message
        assert f"Received: {role}='small' with a preprocessor" in message
    student.preprocessor = None
    assert Tapped(student, minimum=2).names == ["first", "second"]


@pytest.mark.slow
def test_error_a_task_of_keras_hub_with_its_preprocessor():
    from keras_hub import models  # Takes seconds, for this test alone.

    converter = models.ResNetImageClassifierPreprocessor.image_converter_cls
    task = models.ImageClassifier(
        models.ResNetBackbone(
            input_conv_filters=[64],
            input_conv_kernel_sizes=[3],
            stackwise_num_filters=[64],
            stackwise_num_blocks=[1],
            stackwise_num_strides=[1],
            block_type="basic_block",
            image_shape=(32, 32, 3),
        ),
        num_classes=3,
        preprocessor=models.ResNetImageClassifierPreprocessor(
            converter(image_size=(32, 32), scale=1 / 255)
        ),
    )
    with pytest.raises(ValueError, match=r"dataset\.map\(task\.preprocessor\)"):
        SelfDistillationModel(task, Supervised())
    task.preprocessor = None
    model = SelfDistillationModel(task, Supervised())
    images = np.random.default_rng(0).uniform(0, 255, (4, 32, 32, 3))
    np.testing.assert_array_equal(
        model.predict(images, verbose=0), model.student.predict(images, verbose=0)
    )


def tokens_of(images):
    return layers.Reshape((4, 6))(layers.Conv2D(6, 4, strides=4, name="patch")(images))


def test_error_tokens_have_no_maps():
    images = keras.Input((8, 8, 3))
    tokens = tokens_of(images)
    mixed = layers.MultiHeadAttention(2, 4)(tokens, tokens)
    pooled = layers.GlobalAveragePooling1D()(layers.Add()([tokens, mixed]))
    transformer = keras.Model(images, layers.Dense(3)(pooled), name="transformer")
    pixel_tokens = keras.Model(images, layers.Dense(3)(tokens), name="pixel_tokens")
    for student in (transformer, pixel_tokens):
        message = error(student)
        assert "Tokens (batch, length, channels) have no maps" in message
        assert "`keras.layers.Reshape((height, width, channels))`" in message
        assert "(`minimum_taps` is 0), such as Supervised" in message
        assert f"student={student.name!r}" in message
        assert Tapped(student).names == []
    assert "with output (None, 4, 3)" in error(pixel_tokens)
    named = error(transformer, ["patch", "reshape"])
    assert "Tokens (batch, length, channels) have no maps" in named


def test_token_outputs_train_plainly():
    images = keras.Input((8, 8, 3))
    logits = layers.Dense(3)(tokens_of(images))
    x = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype("float32")
    y = np.arange(16).reshape(4, 4) % 3
    student = keras.Model(images, logits)
    start = student.get_weights()
    results = []
    for model in (student, SelfDistillationModel(student, Supervised())):
        student.set_weights(start)
        model.compile(keras.optimizers.SGD(0.1), toys.cross_entropy())
        model.fit(x, y, verbose=0, shuffle=False)
        results.append(student.get_weights())
    for plain, ours in zip(*results, strict=True):
        np.testing.assert_allclose(plain, ours, atol=1e-7)


@keras.saving.register_keras_serializable(package="tests")
class OwnNoise(layers.Layer):
    """Draws from TensorFlow's own generator, as keras-cv's layers do."""

    def call(self, images, training=False):
        noise = tf.random.uniform(tf.shape(images))
        return images + noise if training else images


class OneDraw(layers.Layer):
    """Changes all images of a batch, and so all views, in the same way."""

    def call(self, images, training=False):
        return images * tf.random.uniform(()) if training else images


AHEAD = {
    "flip": lambda: [layers.RandomFlip()],
    "after_others": lambda: [layers.Rescaling(1 / 255), layers.RandomTranslation(1, 1)],
    "nested": lambda: [keras.Sequential([layers.RandomFlip(), layers.RandomZoom(0.5)])],
    "pipeline": lambda: [layers.Pipeline([layers.RandomBrightness(0.5)])],
    "noise": lambda: [layers.GaussianNoise(0.1)],
    "own": lambda: [OwnNoise()],
}


@pytest.mark.parametrize("name", AHEAD)
def test_error_random_layers_ahead_of_methods_that_compare_views(name):
    student = small(ahead=AHEAD[name]())
    with pytest.raises(ValueError, match=r"student='small'.*before 'first'") as raised:
        SelfDistillationModel(student, MixSKD())
    assert "`dataset.map(lambda x, y: (augment(x, training=True), y))`" in str(
        raised.value
    )


@pytest.mark.parametrize(
    "create",
    [
        FRSKD_SLA,
        lambda: Late(FRSKD_SLA()),
        lambda: Taught(toys.classifier()),
    ],
)
def test_all_methods_that_compare_views_refuse_them(create):
    student = small(ahead=[layers.RandomFlip()])
    with pytest.raises(ValueError, match="compares several views"):
        SelfDistillationModel(student, create())


def test_other_methods_and_other_layers_are_fine():
    SelfDistillationModel(small(ahead=[layers.RandomFlip()]), FRSKD(width=1, depth=1))
    normalization = layers.Normalization(mean=[0.1, 0.2, 0.3], variance=[1, 2, 3])
    ahead = [layers.Rescaling(2.0), normalization, OneDraw()]
    student = small(ahead=ahead, inside=[layers.Dropout(0.5)])
    SelfDistillationModel(student, MixSKD())


def warnings_of_training(method, freeze):
    student = toys.classifier()
    model = SelfDistillationModel(student, method)
    freeze(student)
    model.compile("sgd", toys.cross_entropy())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):  # As each `fit` does.
            model.make_train_function()
    return [str(warning.message) for warning in caught]


def freeze_all_but_the_head(student):
    for layer in student.layers[:-1]:
        layer.trainable = False


def freeze_the_stem(student):
    student.get_layer("down1").trainable = False


def test_a_student_that_is_frozen_before_its_taps_is_named_once():
    method = FRSKD(channels=2, depth=1)
    (message,) = warnings_of_training(method, freeze_all_but_the_head)
    assert "No layer before the taps of student 'toy' is trainable" in message
    assert "`layer.trainable = True`" in message


@pytest.mark.parametrize(
    ("create", "freeze"),
    [
        (lambda: FRSKD(channels=2, depth=1), freeze_the_stem),
        (Supervised, freeze_all_but_the_head),
    ],
)
def test_no_warning_where_something_is_taught(create, freeze):
    assert warnings_of_training(create(), freeze) == []
