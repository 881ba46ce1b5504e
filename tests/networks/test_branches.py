import keras
import numpy as np
import pytest
from keras import layers

from examples.students.by_name import build_student
from examples.students.convnets import resnet18, thin_resnet18
from keras_selfkd.networks import branches, joint_head, last_tap
from keras_selfkd.taps import Tapped
from tests import toys


def branches_of(student, taps=None):
    outputs = Tapped(student, taps, minimum=2).symbolic
    last = last_tap(outputs)
    return outputs, last, branches(outputs, last)


def kinds(layers):
    return [type(layer).__name__ for layer in layers if layer.weights]


def layers_after(model, name):
    names = [layer.name for layer in model.layers]
    return model.layers[names.index(name) + 1 :]


def test_a_branch_repeats_the_students_remaining_layers():
    student = thin_resnet18((32, 32, 3), 10)
    tapped = Tapped(student, None, minimum=2)
    outputs, last, built = branches_of(student)
    assert last == 3
    for name, branch in zip(tapped.names, built, strict=False):
        assert kinds(branch.layers) == kinds(layers_after(student, name))
        assert branch.outputs[0].shape == outputs.features[-1].shape
        assert branch.outputs[1].shape == outputs.logits.shape


COPIED = [
    toys.nested_classifier,
    lambda: thin_resnet18((32, 32, 3), 10),
    *(
        pytest.param(
            lambda name=name: build_student(name, (64, 64, 3), 10),
            id=name,
            marks=pytest.mark.slow,
        )
        for name in ("MobileNetV2", "keras_hub:ResNetBackbone")
    ),
]


@pytest.mark.parametrize("create", COPIED)
def test_no_branch_of_these_is_a_chain(create):
    """No warning is given, and none of their layers is the student's."""
    student = create()
    _, _, built = branches_of(student)
    shared = {id(weight) for weight in student.weights}
    for branch in built:
        assert branch.weights
        assert not any(id(weight) in shared for weight in branch.weights)


def test_weights_start_afresh_whatever_the_students_seeds():
    images = keras.Input((16, 16, 3))
    x = images
    for i in range(3):
        start = keras.initializers.HeNormal(seed=1)
        x = layers.Conv2D(4, 3, 2, "same", kernel_initializer=start, name=f"conv{i}")(x)
    x = layers.GlobalAveragePooling2D()(x)
    student = keras.Model(images, layers.Dense(3)(x))
    _, _, built = branches_of(student, ["conv0", "conv1", "conv2"])
    assert len(built) == 2
    kernels = [student.get_layer("conv2").kernel]
    kernels += [branch.get_layer("conv2").kernel for branch in built]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert np.any(kernels[one].numpy() != kernels[other].numpy())


def test_frozen_layers_are_trained_in_branches():
    student = toys.classifier()
    student.trainable = False
    _, _, built = branches_of(student)
    assert all(weight.trainable for weight in built[0].get_layer("down3").weights)


def test_a_skip_across_a_tap_gives_a_chain_and_one_warning():
    """ResNet-18, read inside of its residual blocks."""
    student = resnet18((32, 32, 3), 10, channels=(8, 8, 16, 16))
    inside = next(layer.name for layer in student.layers if "stage2" in layer.name)
    ends = Tapped(student, None, minimum=2).names
    with pytest.warns(
        UserWarning, match=r"16x16x8 \(they read other maps too"
    ) as caught:
        outputs, last, built = branches_of(student, [inside, *ends[2:]])
    assert len(caught) == 1
    assert "DepthwiseConv2D" in kinds(built[0].layers)
    assert built[0].outputs[0].shape == outputs.features[last].shape


@keras.saving.register_keras_serializable(package="tests")
class WithoutConfig(layers.Layer):
    """Its config leaves out what its constructor needs."""

    def __init__(self, channels, **kwargs):
        super().__init__(**kwargs)
        self.conv = layers.Conv2D(channels, 1)

    def get_config(self):
        return {"name": self.name}

    def call(self, inputs):
        return self.conv(inputs)


def student_with(layer):
    images = keras.Input((16, 16, 3))
    x = layers.Conv2D(4, 3, 2, "same", activation="relu", name="fine")(images)
    x = layer(x)
    x = layers.Conv2D(8, 3, 2, "same", activation="relu", name="coarse")(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(images, layers.Dense(3)(x))


@pytest.mark.parametrize(
    "layer",
    [
        layers.SpatialDropout2D(0.5),
        layers.Lambda(lambda x: 2 * x),
        layers.SpectralNormalization(layers.Conv2D(4, 1, trainable=False)),
    ],
    ids=lambda layer: layer.name,
)
def test_special_layers_are_copied_or_shared(layer):
    _, _, (branch,) = branches_of(student_with(layer), ["fine", "coarse"])
    assert "DepthwiseConv2D" not in kinds(branch.layers)
    # A normalised kernel's own vector is never trained.
    assert all(v.trainable for v in branch.variables if v.name in ("kernel", "bias"))


def test_a_layer_that_cannot_be_copied_gives_a_chain_and_one_warning():
    student = student_with(WithoutConfig(4))
    with pytest.warns(UserWarning, match=r"8x8x4 \(.*WithoutConfig") as caught:
        _, _, (branch,) = branches_of(student, ["fine", "coarse"])
    assert len(caught) == 1
    assert "DepthwiseConv2D" in kinds(branch.layers)


def test_the_last_map_may_be_an_operations():
    images = keras.Input((16, 16, 3))
    x = layers.Conv2D(4, 3, 2, "same", activation="relu", name="fine")(images)
    x = keras.ops.max_pool(x, 2)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    outputs, last, (branch,) = branches_of(keras.Model(images, layers.Dense(3)(x)))
    assert outputs.features[last].shape == (None, 4, 4, 4)
    assert branch.outputs[0].shape == (None, 4, 4, 4)


def test_weights_of_branches_have_paths_of_their_own():
    student = toys.classifier()
    _, _, built = branches_of(student)
    weights = [*student.weights, *(w for branch in built for w in branch.weights)]
    assert len({weight.path for weight in weights}) == len(weights)


@pytest.mark.filterwarnings("ignore:The student's layers:UserWarning")
def test_a_decoders_last_map_is_its_finest():
    outputs, last, built = branches_of(toys.segmenter())
    assert last == 0
    for branch in built:
        assert branch.outputs[0].shape == outputs.features[0].shape
        assert len(branch.outputs[1].shape) == 4


def test_joint_head_of_classes_and_of_pixels():
    for create in (toys.classifier, toys.segmenter):
        outputs = Tapped(create(), None, minimum=2).symbolic
        finest = outputs.features[0]
        head = joint_head([finest, finest], outputs.logits)
        expected = (*finest.shape[:3], 4) if create is toys.segmenter else (None, 4)
        assert head.output.shape == expected


def test_error_no_tap_leads_to_the_logits():
    """Both taps are inside of residual blocks."""
    outputs = Tapped(toys.classifier(), ["conv1", "conv2"], minimum=2).symbolic
    with pytest.raises(ValueError, match="the map before the head"):
        last_tap(outputs)
