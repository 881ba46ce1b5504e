import keras
import numpy as np
import pytest

from examples.students import convnets

NETWORKS = (
    convnets.plain_cnn,
    convnets.sequential_cnn,
    convnets.small_resnet,
    convnets.thin_resnet18,
    convnets.wide_resnet16_2,
)


def trainable_parameters(model):
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_variables)


def map_shape(model, layer):
    return tuple(model.get_layer(layer).output.shape[1:])


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.__name__)
def test_networks_output_logits(network):
    student = network((32, 32, 1), classes=7)
    logits = student(np.random.default_rng(0).normal(size=(2, 32, 32, 1)))
    assert logits.shape == (2, 7)
    assert student.layers[-1].activation is keras.activations.linear
    assert student.losses == []
    assert student.name == network.__name__


def test_resnet18_has_the_size_of_the_paper():
    assert trainable_parameters(convnets.resnet18((32, 32, 3), 100)) == 11_220_132


def test_wide_resnet_has_the_size_of_the_paper():
    student = convnets.wide_resnet16_2((32, 32, 3), 100)
    stages, size = 0, 0
    for previous, width in ((16, 32), (32, 64), (64, 128)):
        first = 9 * previous * width + 9 * width**2 + previous * width
        stages += first + 2 * 9 * width**2
        size += 2 * previous + 2 * width + 4 * width  # scale and shift of BatchNorm
    expected = 9 * 3 * 16 + stages + size + 2 * 128 + 128 * 100 + 100
    assert trainable_parameters(student) == expected == 703_284


def test_resnet18_stages():
    student = convnets.resnet18((32, 32, 3), 10, channels=(4, 8, 16, 32))
    assert map_shape(student, "stem_out") == (32, 32, 4)
    assert map_shape(student, "stage1_block2_out") == (32, 32, 4)
    assert map_shape(student, "stage2_block2_out") == (16, 16, 8)
    assert map_shape(student, "stage3_block2_out") == (8, 8, 16)
    assert map_shape(student, "stage4_block2_out") == (4, 4, 32)


def test_only_blocks_that_change_shape_have_a_shortcut_convolution():
    student = convnets.thin_resnet18((32, 32, 3), 10)
    shortcuts = [x.name for x in student.layers if x.name.endswith("shortcut_conv")]
    assert shortcuts == [f"stage{stage}_block1_shortcut_conv" for stage in (2, 3, 4)]


def test_wide_resnet_stages():
    student = convnets.wide_resnet16_2((32, 32, 3), 10)
    assert map_shape(student, "stage1_block2_add") == (32, 32, 32)
    assert map_shape(student, "stage2_block2_add") == (16, 16, 64)
    assert map_shape(student, "last_out") == (8, 8, 128)


def test_blocks_restated_in_numpy():
    student = convnets.small_resnet((8, 8, 3), 5)
    joined = ("stem_out", "stage1_block1_bn2", "stage1_block1_add", "stage1_block1_out")
    reader = keras.Model(student.input, [student.get_layer(n).output for n in joined])
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 3))
    shortcut, residual, added, out = map(np.array, reader(images))
    np.testing.assert_allclose(added, shortcut + residual, rtol=1e-6)
    np.testing.assert_array_equal(out, np.maximum(added, 0))


def test_preactivation_shortcut_skips_the_activation_where_shapes_agree():
    student = convnets.wide_resnet16_2((8, 8, 3), 5, channels=(4, 8))
    joined = ("stage1_block1_add", "stage1_block2_conv2", "stage1_block2_add")
    reader = keras.Model(student.input, [student.get_layer(n).output for n in joined])
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 3))
    shortcut, residual, added = map(np.array, reader(images))
    assert np.min(shortcut) < 0
    np.testing.assert_allclose(added, shortcut + residual, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.__name__)
def test_layers_are_those_of_the_papers(network):
    student = network((32, 32, 3), 10)
    for layer in student.layers:
        if isinstance(layer, keras.layers.Conv2D):
            assert not layer.use_bias
        if isinstance(layer, keras.layers.BatchNormalization):
            assert (layer.momentum, layer.epsilon) == (0.9, 1e-5)


def test_kernels_start_from_he_initialisation_by_fan_out():
    student = convnets.resnet18((32, 32, 3), 10, channels=(64, 64, 64, 64))
    kernels = [
        student.get_layer(f"stage1_block{block}_conv1").get_weights()[0]
        for block in (1, 2)
    ]
    for kernel in kernels:
        assert np.std(kernel) == pytest.approx(np.sqrt(2 / (9 * 64)), rel=0.02)
    # One initializer shared by layers would give equal kernels.
    assert not np.allclose(*kernels)


def test_plain_and_sequential_have_the_same_layers():
    networks = (convnets.plain_cnn, convnets.sequential_cnn)
    plain, sequential = (network((16, 16, 3), 10, (4, 8)) for network in networks)
    assert isinstance(sequential, keras.Sequential)
    assert [x.name for x in plain.layers[1:]] == [x.name for x in sequential.layers]
    assert map_shape(sequential, "stage2_out") == (8, 8, 8)
