"""Convolutional networks for small images, as functional Keras classifiers.

Each function takes `(input_shape, classes)`, outputs logits and names its layers so
that a tap reads like the architecture: `stage2_block1_out` is the map after the
first block of the second stage. Weights start from He initialisation scaled by
fan-out, BatchNorm uses epsilon 1e-5 and momentum 0.9, and there are no weight
regularizers: L2 belongs to the optimizer of the recipe.
"""

import keras
from keras import layers


def plain_cnn(input_shape, classes, channels=(32, 64, 128)):
    """Builds a convolutional network without skips, one pooling a stage.

    Args:
        input_shape: `(height, width, channels)` of the images.
        classes: Number of classes.
        channels: Channels of each stage. Defaults to `(32, 64, 128)`.

    Returns:
        A functional `keras.Model` from images to logits.
    """
    inputs = x = layers.Input(input_shape, name="image")
    for layer in _plain_layers(classes, channels):
        x = layer(x)
    return keras.Model(inputs, x, name="plain_cnn")


def sequential_cnn(input_shape, classes, channels=(32, 64, 128)):
    """Builds the layers of `plain_cnn` as a `keras.Sequential`.

    Args:
        input_shape: `(height, width, channels)` of the images.
        classes: Number of classes.
        channels: Channels of each stage. Defaults to `(32, 64, 128)`.

    Returns:
        A built `keras.Sequential` from images to logits.
    """
    image = layers.Input(input_shape, name="image")
    return keras.Sequential(
        [image, *_plain_layers(classes, channels)], name="sequential_cnn"
    )


def resnet18(input_shape, classes, channels=(64, 128, 256, 512), name="resnet18"):
    """Builds ResNet-18 for images of about 32x32 pixels.

    The stem is one 3x3 convolution without pooling; with 100 classes and RGB images
    the network has 11,220,132 trainable parameters.

    Args:
        input_shape: `(height, width, channels)` of the images.
        classes: Number of classes.
        channels: Channels of each stage, two blocks a stage. Defaults to
            `(64, 128, 256, 512)`.
        name: Name of the model. Defaults to `"resnet18"`.

    Returns:
        A functional `keras.Model` from images to logits.

    Example:
    >>> student = resnet18((32, 32, 3), classes=10, channels=(4, 4, 8, 8))
    >>> tuple(student.get_layer("stage4_block2_out").output.shape)
    (None, 4, 4, 8)

    References:
        Kaiming He et al., "Deep Residual Learning for Image Recognition",
        https://arxiv.org/abs/1512.03385, 2015.
    """
    return _residual_network(input_shape, classes, channels, blocks=2, name=name)


def thin_resnet18(input_shape, classes):
    """Builds `resnet18` with 16, 32, 64 and 128 channels, a sixteenth of its size."""
    return resnet18(input_shape, classes, (16, 32, 64, 128), name="thin_resnet18")


def small_resnet(input_shape, classes):
    """Builds the demo's student: three stages of one block, 16 to 64 channels."""
    return _residual_network(
        input_shape, classes, channels=(16, 32, 64), blocks=1, name="small_resnet"
    )


def wide_resnet16_2(input_shape, classes, channels=(32, 64, 128)):
    """Builds WRN-16-2: pre-activation blocks, twice as wide as the thin network.

    Args:
        input_shape: `(height, width, channels)` of the images.
        classes: Number of classes.
        channels: Channels of each stage, two blocks a stage. Defaults to
            `(32, 64, 128)`.

    Returns:
        A functional `keras.Model` from images to logits.

    References:
        Sergey Zagoruyko and Nikos Komodakis, "Wide Residual Networks",
        https://arxiv.org/abs/1605.07146, 2016.
    """
    inputs = layers.Input(input_shape, name="image")
    x = conv(inputs, channels[0] // 2, name="stem_conv")
    for stage, width in enumerate(channels, start=1):
        for block in (1, 2):
            strides = 2 if stage > 1 and block == 1 else 1
            x = _preactivation_block(x, width, strides, f"stage{stage}_block{block}")
    x = norm_relu(x, "last_bn", "last_out")
    return _with_head(inputs, x, classes, "wide_resnet16_2")


def _plain_layers(classes, channels):
    stages = []
    for stage, width in enumerate(channels, start=1):
        if stage > 1:
            stages.append(layers.MaxPooling2D(name=f"stage{stage}_pool"))
        stages += [
            _conv_layer(width, name=f"stage{stage}_conv"),
            _norm_layer(name=f"stage{stage}_bn"),
            layers.ReLU(name=f"stage{stage}_out"),
        ]
    return [*stages, *_head_layers(classes)]


def _residual_network(input_shape, classes, channels, blocks, name):
    inputs = layers.Input(input_shape, name="image")
    x = norm_relu(conv(inputs, channels[0], name="stem_conv"), "stem_bn", "stem_out")
    for stage, width in enumerate(channels, start=1):
        for block in range(1, blocks + 1):
            strides = 2 if stage > 1 and block == 1 else 1
            x = _residual_block(x, width, strides, f"stage{stage}_block{block}")
    return _with_head(inputs, x, classes, name)


def _residual_block(x, channels, strides, name):
    shortcut = x
    if strides != 1 or x.shape[-1] != channels:
        shortcut = conv(x, channels, 1, strides, name=f"{name}_shortcut_conv")
        shortcut = _norm_layer(name=f"{name}_shortcut_bn")(shortcut)
    x = conv(x, channels, 3, strides, name=f"{name}_conv1")
    x = norm_relu(x, f"{name}_bn1", f"{name}_relu1")
    x = conv(x, channels, name=f"{name}_conv2")
    x = _norm_layer(name=f"{name}_bn2")(x)
    x = layers.Add(name=f"{name}_add")([shortcut, x])
    return layers.ReLU(name=f"{name}_out")(x)


def _preactivation_block(x, channels, strides, name):
    active = norm_relu(x, f"{name}_bn1", f"{name}_relu1")
    shortcut = x
    if strides != 1 or x.shape[-1] != channels:
        shortcut = conv(active, channels, 1, strides, name=f"{name}_shortcut_conv")
    x = conv(active, channels, 3, strides, name=f"{name}_conv1")
    x = norm_relu(x, f"{name}_bn2", f"{name}_relu2")
    x = conv(x, channels, name=f"{name}_conv2")
    return layers.Add(name=f"{name}_add")([shortcut, x])


def _with_head(inputs, x, classes, name):
    for layer in _head_layers(classes):
        x = layer(x)
    return keras.Model(inputs, x, name=name)


def _head_layers(classes):
    return [
        layers.GlobalAveragePooling2D(name="pool"),
        layers.Dense(classes, name="logits"),
    ]


def without_rescaling(model):
    """Makes a model's `Rescaling` layers pass on what they get.

    EfficientNet (V1) divides by 255 whatever it is asked. Its input here is normalised
    already, and a signal that small drowns in BatchNorm's epsilon.
    """
    for layer in model.layers:
        if isinstance(layer, layers.Rescaling):
            layer.scale, layer.offset = 1.0, 0.0


def conv(x, channels, size=3, strides=1, *, name):
    """A convolution without bias, He-initialised."""
    return _conv_layer(channels, size, strides, name=name)(x)


def _conv_layer(channels, size=3, strides=1, *, name):
    return layers.Conv2D(
        channels,
        size,
        strides,
        padding="same",
        use_bias=False,
        kernel_initializer=keras.initializers.VarianceScaling(
            2.0, mode="fan_out", distribution="untruncated_normal"
        ),
        name=name,
    )


def _norm_layer(name):
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=name)


def norm_relu(x, norm_name, relu_name):
    """BatchNorm and ReLU."""
    return layers.ReLU(name=relu_name)(_norm_layer(norm_name)(x))
