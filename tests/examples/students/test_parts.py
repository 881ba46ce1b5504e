import keras
import numpy as np
import pytest

from examples.students import parts
from examples.students.by_name import build_student
from examples.students.convnets import small_resnet
from tests import toys


def frozen(student):
    return [layer.name for layer in student.layers if not layer.trainable]


def test_a_layer_and_all_that_it_depends_on():
    student = toys.classifier()
    parts.freeze_until(student, "bn2")
    # Neither the layers behind it nor what stands beside it.
    first = ["down1", "conv1", "bn1", "add1", "out1"]
    assert frozen(student) == [*first, "down2", "conv2", "bn2"]


def test_a_layer_inside_of_a_nested_model():
    student = toys.nested_classifier()
    parts.freeze_until(student, "backbone/out2")
    assert "bn2" in frozen(student.get_layer("backbone"))
    assert "down3" not in frozen(student.get_layer("backbone"))
    parts.freeze_until(student, "backbone")
    assert "out3" in frozen(student.get_layer("backbone"))
    assert student.get_layer("logits").trainable


@pytest.mark.parametrize("build", [toys.classifier, toys.nested_classifier])
def test_what_the_head_reads(build):
    student = build()
    network = parts.embedder(student)
    images = np.random.default_rng(0).normal(size=(2, *student.input_shape[1:]))
    features = network.predict(images, verbose=0)
    head = parts.head_of(student)
    expected = features @ head.kernel.numpy() + head.bias.numpy()
    np.testing.assert_allclose(student.predict(images, verbose=0), expected, atol=1e-5)


def test_maps_before_the_head_are_averaged():
    images = keras.Input((8, 8, 3))
    maps = keras.layers.Conv2D(4, 3, name="maps")(images)
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(5, 1)(maps))
    network = parts.embedder(keras.Model(images, pooled))
    assert network.output_shape == (None, 4)


def test_error_an_unknown_layer_with_the_nearest_ones():
    with pytest.raises(ValueError, match=r"names: .*stage2_block1_out.*=stage2_blok1_"):
        parts.freeze_until(small_resnet((16, 16, 3), 5), "stage2_blok1_out")


def test_error_nothing_is_left_to_train():
    student = toys.classifier()
    with pytest.raises(ValueError, match=r"before the head 'logits'.*=logits"):
        parts.freeze_until(student, "logits")
    assert frozen(student) == []


@pytest.mark.parametrize(
    ("name", "head"),
    [("small_resnet", "logits"), ("MobileNetV3Small", "logits")],
)
def test_the_head_is_the_last_layer_with_weights(name, head):
    student = build_student(name, (32, 32, 3), 5)
    assert parts.head_of(student).name == head
    paths = parts.backbone_paths(student)
    rest = [v.path for v in student.trainable_variables if v.path not in paths]
    assert rest == [f"{head}/kernel", f"{head}/bias"]


def test_what_is_frozen_is_no_part_of_what_trains_slowly():
    student = toys.classifier()
    parts.freeze_until(student, "out2")
    kept = {path.split("/")[0] for path in parts.backbone_paths(student)}
    assert kept == {"down3", "conv3", "bn3"}


def test_error_a_rate_for_a_backbone_that_is_frozen():
    student = toys.classifier()
    parts.freeze_until(student, "out3")
    with pytest.raises(ValueError, match="--freeze_until, which freezes all"):
        parts.backbone_paths(student)


def test_a_sequential_student_has_a_head():
    images = keras.Input((8, 8, 3))
    layers = [keras.layers.Flatten(), keras.layers.Dense(3, name="end")]
    student = keras.Sequential([images, *layers, keras.layers.Activation("linear")])
    assert parts.head_of(student).name == "end"
