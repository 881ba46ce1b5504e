import keras
import numpy as np
import pytest

from examples.students import by_name, convnets

APPLICATIONS = (
    "mobilenet_v3_small",
    "EfficientNetB0",
    "efficientnetv2b0",
    "ResNet50V2",
)


def test_own_names_resolve():
    student = by_name.build_student("Thin_ResNet18", (32, 32, 3), classes=5)
    assert student.name == "thin_resnet18"
    assert (
        student.count_params() == convnets.thin_resnet18((32, 32, 3), 5).count_params()
    )


@pytest.mark.parametrize("name", APPLICATIONS)
def test_applications_output_logits_of_normalised_images(name):
    student = by_name.build_student(name, (32, 32, 1), classes=3)
    assert student.output_shape == (None, 3)
    assert student.layers[-1].activation is keras.activations.linear
    for layer in student.layers:
        if isinstance(layer, keras.layers.Rescaling):
            assert (layer.scale, layer.offset) == (1.0, 0.0)


def test_efficientnet_keeps_its_scale_through_a_file(tmp_path):
    student = by_name.build_student("EfficientNetB0", (32, 32, 3), classes=3)
    images = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("float32")
    rescaled = keras.Model(student.input, student.layers[1].output)
    np.testing.assert_array_equal(rescaled(images), images)
    student.save(tmp_path / "student.keras")
    loaded = keras.saving.load_model(tmp_path / "student.keras")
    np.testing.assert_allclose(loaded(images), student(images), rtol=1e-5, atol=1e-6)


def test_name_without_prefix_means_keras_hub_first():
    student = by_name.build_student("densenet_backbone", (64, 64, 3), classes=3)
    assert type(student).__name__ == "ImageClassifier"


@pytest.mark.parametrize(
    ("name", "closest"),
    [("resnet81", "resnet18"), ("MobilNetV3Smal", "MobileNetV3Small")],
)
def test_unknown_name_names_the_closest(name, closest):
    with pytest.raises(ValueError, match=f"(?s){closest}.*Received: name='{name}'"):
        by_name.build_student(name, (32, 32, 3), classes=3)


def test_error_images_too_small_for_an_application():
    match = r"MobileNetV3Small does not take.*28, 28.*--image_size.*at least 32"
    with pytest.raises(ValueError, match=match):
        by_name.build_student("MobileNetV3Small", (28, 28, 3), classes=3)
