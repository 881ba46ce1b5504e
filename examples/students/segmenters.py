"""Networks for semantic segmentation, as functional Keras pixel classifiers.

Each function takes `(input_shape, classes)` and outputs logits `(batch, height, width,
classes)`, of the images' size or smaller: training and evaluation resize them
bilinearly to the labels. Layers are named as in `convnets`; weights start as there.
"""

import keras
from keras import layers, ops

from examples.students.convnets import conv, norm_relu, without_rescaling
from keras_selfkd.distributed.layers import derive_constants, layers_in
from keras_selfkd.networks import bifpn
from keras_selfkd.taps import Tapped

EFFICIENTNET_BIFPN_TAPS = [*(f"bifpn3_top_down{i}" for i in range(5)), "bifpn2_out5"]


def unet(input_shape, classes, channels=(32, 64, 128, 256), stride=1, name="unet"):
    """Builds a U-Net: two convolutions a level down, two a level up, with skips.

    Args:
        input_shape: `(height, width, channels)` of the images, of any size.
        classes: Number of classes.
        channels: Channels of each level, fine to coarse. Defaults to
            `(32, 64, 128, 256)`.
        stride: Stride of the first convolution; the logits are as much smaller than
            the images. Defaults to `1`.
        name: Name of the model. Defaults to `"unet"`.

    Returns:
        A functional `keras.Model` from images to logits.

    Example:
    >>> student = unet((45, 60, 3), classes=11, channels=(4, 8, 16))
    >>> tuple(student.output.shape)
    (None, 45, 60, 11)

    References:
        Olaf Ronneberger et al., "U-Net: Convolutional Networks for Biomedical Image
        Segmentation", https://arxiv.org/abs/1505.04597, 2015. With BatchNorm and
        padding, and bilinear resizing where the paper has transposed convolutions.
    """
    inputs = x = layers.Input(input_shape, name="image")
    skips = []
    for level, width in enumerate(channels, start=1):
        if level > 1:
            x = layers.MaxPooling2D(padding="same", name=f"down{level}_pool")(x)
        strides = stride if level == 1 else 1
        x = _conv_norm_relu(x, width, f"down{level}_1", strides=strides)
        x = _conv_norm_relu(x, width, f"down{level}_2")
        skips.append(x)
    for level in reversed(range(1, len(channels))):
        skip, width = skips[level - 1], channels[level - 1]
        x = ops.image.resize(x, skip.shape[1:3], interpolation="bilinear")
        x = layers.Concatenate(name=f"up{level}_concatenate")([skip, x])
        x = _conv_norm_relu(x, width, f"up{level}_1")
        x = _conv_norm_relu(x, width, f"up{level}_2")
    return keras.Model(inputs, _logits(x, classes), name=name)


def thin_unet(input_shape, classes):
    """Builds `unet` with 16 to 128 channels and logits of half the images' size."""
    return unet(input_shape, classes, (16, 32, 64, 128), stride=2, name="thin_unet")


def mobilenet_v3_fpn(input_shape, classes, channels=48):
    """Builds a feature pyramid on MobileNetV3-Small, with logits at a quarter's size.

    Args:
        input_shape: `(height, width, 3)` of the images, at least 32 pixels each way.
        classes: Number of classes.
        channels: Channels of each level of the pyramid. Defaults to `48`.

    Returns:
        A functional `keras.Model` from images to logits.

    References:
        - Andrew Howard et al., "Searching for MobileNetV3",
          https://arxiv.org/abs/1905.02244, 2019.
        - Tsung-Yi Lin et al., "Feature Pyramid Networks for Object Detection",
          https://arxiv.org/abs/1612.03144, 2017.
    """
    encoder = keras.applications.MobileNetV3Small(
        weights=None,
        include_top=False,
        include_preprocessing=False,
        input_shape=input_shape,
    )
    ends = ("expanded_conv_project_bn", "expanded_conv_2_add", "expanded_conv_7_add")
    maps = [encoder.get_layer(end).output for end in ends] + [encoder.output]
    logits = _logits(_pyramid(maps, channels, finest=2), classes)
    return keras.Model(encoder.input, logits, name="mobilenet_v3_fpn")


def efficientnet_bifpn(input_shape, classes, channels=64):
    """Builds the FRSKD paper's segmenter: EfficientNet-B0 and three BiFPN layers.

    Six levels P2 to P7, the last BiFPN layer only top-down, a head on P2. With the last
    layer's six maps as taps, `EFFICIENTNET_BIFPN_TAPS`, `FRSKD(repeats=2, channels=64,
    depth=1)` grows the paper's self-teacher.

    Args:
        input_shape: `(height, width, 3)` of the images, at least 64 pixels each way.
        classes: Number of classes.
        channels: Channels of each level of the pyramid. Defaults to `64`.

    Returns:
        A functional `keras.Model` from images to logits, at a quarter of their size.

    References:
        Ji et al., "Refine Myself by Teaching Myself", CVPR 2021,
        https://arxiv.org/abs/2103.08273.
    """
    encoder = keras.applications.EfficientNetB0(
        weights=None, include_top=False, input_shape=input_shape
    )
    without_rescaling(encoder)
    ends = ("block2b_add", "block3b_add", "block5c_add", "top_activation")
    maps = [encoder.get_layer(end).output for end in ends]
    for level in (6, 7):
        pool = layers.MaxPooling2D(3, strides=2, padding="same", name=f"p{level}_pool")
        maps.append(pool(maps[-1]))
    widths = [channels] * len(maps)
    pyramid = bifpn(
        maps, widths, depth=1, repeats=3, resample_conv=False, bottom_up=False
    )
    x = _conv_norm_relu(pyramid[0], 256, "head")
    logits = layers.Conv2D(classes, 3, padding="same", name="logits")(x)
    return keras.Model(encoder.input, logits, name="efficientnet_bifpn")


def fpn_on(backbone, input_shape, classes, channels=48):
    """Builds a feature pyramid on a trained classifier, whose weights it starts from.

    The pyramid reads the classifier's default taps; what lies behind the last one, its
    head, is left out.

    Args:
        backbone: Functional `keras.Model`, a classifier of images of any size.
        input_shape: `(height, width, channels)` of the images to segment.
        classes: Number of classes.
        channels: Channels of each level of the pyramid. Defaults to `48`.

    Returns:
        A functional `keras.Model` from images to logits, of its finest tap's size,
        with weights of its own. The layers of the backbone keep their names.

    Raises:
        ValueError: If the backbone takes images of other channels, can't take images
            of another size, or has fewer than two resolutions to tap.

    Example:
    >>> from examples.students.convnets import small_resnet
    >>> student = fpn_on(small_resnet((32, 32, 3), classes=10), (48, 64, 3), classes=4)
    >>> tuple(student.output.shape)
    (None, 48, 64, 4)

    References:
        Tsung-Yi Lin et al., "Feature Pyramid Networks for Object Detection",
        https://arxiv.org/abs/1612.03144, 2017.
    """
    known = backbone.inputs[0].shape[1:]
    if known[-1] != input_shape[-1]:
        raise ValueError(
            f"Expected a backbone for images of {input_shape[-1]} channels. "
            f"Received: one for images {tuple(known)}"
        )
    size = (None, *input_shape)
    config = _with_inputs(backbone.get_config(), backbone.inputs[0].shape, size)
    try:
        copy = type(backbone).from_config(config)
        copy.set_weights(backbone.get_weights())
        derive_constants(copy)
        # Keras ignores `copy.trainable = True` where that is so already.
        for layer in layers_in(copy):
            layer.trainable = True
    except ValueError as error:
        raise ValueError(
            "Expected a backbone that takes images of any size, such as one that ends "
            "in GlobalAveragePooling2D. Received: one for images "
            f"{tuple(known)}, which cannot take {tuple(input_shape)}: "
            f"{str(error).strip().splitlines()[0]}"
        ) from error
    tapped = Tapped(copy, minimum=2)
    maps = tapped.symbolic.features
    logits = _logits(_pyramid(maps, channels, finest=1), classes)
    return keras.Model(tapped.model.inputs[0], logits, name="backbone_fpn")


def _with_inputs(config, known, size):
    """A model's config, nested ones included, with inputs of another size."""
    if isinstance(config, dict):
        shape = config.get("batch_shape")
        if shape is not None and tuple(shape) == tuple(known):
            config = {**config, "batch_shape": size}
        return {key: _with_inputs(part, known, size) for key, part in config.items()}
    if isinstance(config, list):
        return [_with_inputs(part, known, size) for part in config]
    return config


def _pyramid(maps, channels, finest):
    """The finest map of a top-down pyramid on maps, fine to coarse."""
    finer = None
    for level in reversed(range(finest, finest + len(maps))):
        x = conv(maps[level - finest], channels, 1, name=f"lateral{level}_conv")
        x = norm_relu(x, f"lateral{level}_bn", f"lateral{level}_relu")
        if finer is not None:
            resized = ops.image.resize(finer, x.shape[1:3], interpolation="bilinear")
            x = layers.Add(name=f"pyramid{level}_add")([x, resized])
        finer = _conv_norm_relu(x, channels, f"pyramid{level}")
    return finer


def _conv_norm_relu(x, channels, name, strides=1):
    x = conv(x, channels, strides=strides, name=f"{name}_conv")
    return norm_relu(x, f"{name}_bn", f"{name}_out")


def _logits(x, classes):
    return layers.Conv2D(classes, 1, name="logits")(x)
