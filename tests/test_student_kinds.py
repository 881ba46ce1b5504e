"""Every kind of student does, inside the training model, what it does by itself."""

from typing import Any, NamedTuple

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_selfkd import Method, SelfDistillationModel
from tests import toys

TOLERANCE = {"rtol": 0, "atol": 1e-6}


@keras.saving.register_keras_serializable(package="tests")
class SmallMaps(Method):
    """Reads the taps, and makes nothing of its own: the cheapest method with taps."""

    minimum_taps = 2
    loss_weights = {"task": 1.0, "feature": 0.1}  # noqa: RUF012 (never changed)

    def loss_terms(self, student, batch, supervise):
        squares = [ops.mean(ops.square(f), axis=(1, 2, 3)) for f in student.features]
        return {"task": supervise(batch["y"], student.logits), "feature": sum(squares)}


def body():
    return [
        layers.Conv2D(4, 3, strides=2, padding="same", activation="relu"),
        layers.BatchNormalization(),
        layers.Conv2D(6, 3, strides=2, padding="same", activation="relu"),
    ]


def head(classes=toys.CLASSES):
    return [layers.GlobalAveragePooling2D(), layers.Dense(classes)]


def in_a_row(images, *parts):
    x = images
    for layer in parts:
        x = layer(x)
    return x


def functional(*parts, name=None):
    images = keras.Input((16, 16, 3))
    return keras.Model(images, in_a_row(images, *parts), name=name)


def sequential_list():
    return keras.Sequential([keras.Input((16, 16, 3)), *body(), *head()])


def sequential_added():
    student = keras.Sequential(name="added")
    for layer in (keras.Input((16, 16, 3)), *body(), *head()):
        student.add(layer)
    return student


def sequential_nested():
    """A `Sequential` of a functional model and of another `Sequential`."""
    tail = keras.Sequential(head(), name="tail")
    parts = [keras.Input((16, 16, 3)), functional(*body(), name="body"), tail]
    return keras.Sequential(parts)


def sequential_inside():
    inner = keras.Sequential([keras.Input((16, 16, 3)), *body()], name="inner")
    return functional(inner, *head())


def preprocessing():
    ahead = [
        layers.Rescaling(2.0),
        layers.Normalization(mean=[0.1, 0.2, 0.3], variance=[1.0, 2.0, 3.0]),
        keras.Sequential([layers.RandomFlip(), layers.RandomRotation(0.1)]),
    ]
    return functional(*ahead, *body(), layers.Dropout(0.5), *head())


def list_of_one_input():
    images = keras.Input((16, 16, 3))
    return keras.Model([images], in_a_row(images, *body(), *head()))


def partly_frozen():
    first = layers.Conv2D(4, 3, trainable=False, kernel_regularizer="l2")
    return functional(first, *body(), *head())


def keras_hub_backbone():
    from keras_hub import models

    backbone = models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[3],
        stackwise_num_filters=[64, 64],
        stackwise_num_blocks=[1, 1],
        stackwise_num_strides=[1, 2],
        block_type="basic_block",
        image_shape=(16, 16, 3),
    )
    return functional(backbone, *head())


def keras_cv_backbone():
    from keras_cv import models

    backbone = models.ResNetV2Backbone(
        stackwise_filters=[64, 64],
        stackwise_blocks=[2, 2],
        stackwise_strides=[1, 2],
        block_type="basic_block",
        include_rescaling=True,
        input_shape=(16, 16, 3),
    )
    return functional(backbone, *head())


KINDS = {
    "functional": lambda: functional(*body(), *head()),
    "nested": lambda: functional(functional(*body(), name="backbone"), *head()),
    "list_of_one_input": list_of_one_input,
    "sequential_list": sequential_list,
    "sequential_added": sequential_added,
    "sequential_nested": sequential_nested,
    "sequential_inside": sequential_inside,
    "preprocessing": preprocessing,
    "partly_frozen": partly_frozen,
    "binary": lambda: functional(*body(), *head(classes=1)),
    "pixel": lambda: functional(*body(), layers.UpSampling2D(4), layers.Conv2D(4, 1)),
    "keras_hub": keras_hub_backbone,
    "keras_cv": keras_cv_backbone,
}


class Trained(NamedTuple):
    kind: str
    model: Any
    images: Any
    labels: Any
    logs: dict

    def evaluate(self, model):
        return model.evaluate(
            self.images, self.labels, batch_size=3, verbose=0, return_dict=True
        )

    def predict(self, model):
        return model.predict(self.images, batch_size=3, verbose=0)


def how_to_compile(kind):
    if kind == "binary":
        metrics = [keras.metrics.BinaryAccuracy(threshold=0.0)]
        return {
            "loss": keras.losses.BinaryCrossentropy(from_logits=True),
            "metrics": metrics,
        }
    return {"loss": toys.cross_entropy(), "metrics": ["accuracy"]}


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(kind, marks=pytest.mark.slow if kind.startswith("keras_") else ())
        for kind in KINDS
    ],
)
def trained(request):
    kind = request.param
    keras.utils.set_random_seed(0)
    images, labels = (toys.pixel_data if kind == "pixel" else toys.class_data)(8)
    labels = labels % 2 if kind == "binary" else labels
    model = SelfDistillationModel(KINDS[kind](), SmallMaps())
    model.compile(keras.optimizers.SGD(0.01), **how_to_compile(kind))
    history = model.fit(
        images, labels, batch_size=4, validation_data=(images, labels), verbose=0
    )
    return Trained(kind, model, images, labels, history.history)


def test_predictions_are_the_bare_students(trained):
    model, images = trained.model, trained.images
    before = [variable.numpy() for variable in model.variables]
    expected = trained.predict(model.student)
    np.testing.assert_allclose(trained.predict(model), expected, **TOLERANCE)
    np.testing.assert_allclose(model(images), expected, **TOLERANCE)
    np.testing.assert_allclose(model({"image": images}), expected, **TOLERANCE)
    np.testing.assert_allclose(model.predict_on_batch(images), expected, **TOLERANCE)
    np.testing.assert_allclose(model.outputs_of(images).logits, expected, **TOLERANCE)
    for old, variable in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(old, variable, err_msg=variable.path)


def test_evaluation_changes_nothing_and_is_the_validation_of_fit(trained):
    before = [variable.numpy() for variable in trained.model.variables]
    ours = trained.evaluate(trained.model)
    for old, variable in zip(before, trained.model.variables, strict=True):
        np.testing.assert_array_equal(old, variable, err_msg=variable.path)
    validation = {name: trained.logs[f"val_{name}"][-1] for name in ours}
    assert ours == pytest.approx(validation, rel=0, abs=1e-6)


def test_a_reloaded_model_goes_on_as_the_same(trained, tmp_path):
    trained.model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    expected = trained.predict(trained.model.student)
    np.testing.assert_allclose(trained.predict(loaded), expected, **TOLERANCE)
    np.testing.assert_allclose(loaded(trained.images), expected, **TOLERANCE)
    np.testing.assert_allclose(trained.predict(loaded.student), expected, **TOLERANCE)
    evaluated = trained.evaluate(trained.model)
    assert trained.evaluate(loaded) == pytest.approx(evaluated, rel=0, abs=1e-6)
    x, y = trained.images, trained.labels
    logs = loaded.fit(x, y, validation_data=(x, y), verbose=0).history
    ours = trained.evaluate(loaded)
    assert ours == pytest.approx({k: logs[f"val_{k}"][0] for k in ours}, abs=1e-6)


def test_the_student_alone_says_the_same_also_in_plain_kerass_evaluate(
    trained, tmp_path
):
    trained.model.student.save(tmp_path / "student.keras")
    alone = keras.models.load_model(tmp_path / "student.keras")
    assert type(alone) is type(trained.model.student)
    assert alone.count_params() == trained.model.count_params()
    expected = trained.predict(trained.model)
    np.testing.assert_allclose(trained.predict(alone), expected, **TOLERANCE)
    alone.compile(**how_to_compile(trained.kind))
    evaluated = trained.evaluate(trained.model)
    assert evaluated == pytest.approx(trained.evaluate(alone), rel=0, abs=1e-6)
