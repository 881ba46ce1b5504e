"""Classifiers over keras-hub and keras-cv backbones, with fresh weights.

The presets of both libraries download their configuration, so each backbone is
listed here with the arguments of its smallest published form.
"""

import functools
import importlib
import inspect

import keras

KERAS_HUB = {
    "ResNetBackbone": {  # ResNet-18
        "input_conv_filters": [64],
        "input_conv_kernel_sizes": [7],
        "stackwise_num_filters": [64, 128, 256, 512],
        "stackwise_num_blocks": [2, 2, 2, 2],
        "stackwise_num_strides": [1, 2, 2, 2],
        "block_type": "basic_block",
    },
    "EfficientNetBackbone": {  # EfficientNet-B0
        "stackwise_kernel_sizes": [3, 3, 5, 3, 5, 5, 3],
        "stackwise_num_repeats": [1, 2, 2, 3, 3, 4, 1],
        "stackwise_input_filters": [32, 16, 24, 40, 80, 112, 192],
        "stackwise_output_filters": [16, 24, 40, 80, 112, 192, 320],
        "stackwise_expansion_ratios": [1, 6, 6, 6, 6, 6, 6],
        "stackwise_strides": [1, 2, 2, 2, 1, 2, 1],
        "stackwise_squeeze_and_excite_ratios": [0.25] * 7,
        "stackwise_block_types": ["v1"] * 7,
        "stackwise_width_coefficients": [1.0] * 7,
        "stackwise_depth_coefficients": [1.0] * 7,
    },
    "DenseNetBackbone": {  # DenseNet-121
        "stackwise_num_repeats": [6, 12, 24, 16],
    },
}

KERAS_CV = {
    "ResNetV2Backbone": {
        "stackwise_filters": [64, 128, 256, 512],
        "stackwise_blocks": [2, 2, 2, 2],
        "stackwise_strides": [1, 2, 2, 2],
        "block_type": "basic_block",
        "include_rescaling": False,
    },
    "MobileNetV3Backbone": {  # MobileNetV3-Small
        "stackwise_expansion": [1, 72 / 16, 88 / 24, 4, 6, 6, 3, 3, 6, 6, 6],
        "stackwise_filters": [16, 24, 24, 40, 40, 40, 48, 48, 96, 96, 96],
        "stackwise_kernel_size": [3, 3, 3, 5, 5, 5, 5, 5, 5, 5, 5],
        "stackwise_stride": [2, 2, 1, 2, 1, 1, 1, 1, 2, 1, 1],
        "stackwise_se_ratio": [0.25, None, None] + [0.25] * 8,
        "stackwise_activation": ["relu"] * 3 + ["hard_swish"] * 8,
        "include_rescaling": False,
    },
}


def classifier_builders():
    """Lists the classifiers of this module.

    Returns:
        Dict from `keras_hub:<class>` or `keras_cv:<class>` to a function
        `(input_shape, classes)` that builds the classifier. The libraries are
        imported when it is called.
    """
    return {
        f"keras_hub:{name}": functools.partial(_keras_hub_classifier, name)
        for name in KERAS_HUB
    } | {
        f"keras_cv:{name}": functools.partial(_keras_cv_classifier, name)
        for name in KERAS_CV
    }


def segmenter_builders():
    """Lists the pixel classifiers of this module, as `classifier_builders` does."""
    return {
        "keras_hub:DeepLabV3ImageSegmenter": _keras_hub_deeplab,
        "keras_cv:DeepLabV3Plus": _keras_cv_deeplab,
    }


def _keras_hub_deeplab(input_shape, classes):
    """DeepLabV3+ on ResNet-18, logits of the images' size."""
    models = _import("keras_hub").models
    encoder = models.ResNetBackbone(
        image_shape=input_shape, **KERAS_HUB["ResNetBackbone"]
    )
    backbone = models.DeepLabV3Backbone(
        image_encoder=encoder,
        low_level_feature_key="P2",
        spatial_pyramid_pooling_key="P5",
        upsampling_size=8,
        dilation_rates=[6, 12, 18],
        image_shape=input_shape,
    )
    return models.DeepLabV3ImageSegmenter(backbone, num_classes=classes)


def _keras_cv_deeplab(input_shape, classes):
    """DeepLabV3+ on ResNet-18, logits of a quarter of the images' size."""
    models = _import("keras_cv").models
    # Not ResNetV2: its last BatchNorm comes after the map that DeepLab reads.
    backbone = models.ResNetBackbone(
        input_shape=input_shape, **KERAS_CV["ResNetV2Backbone"]
    )
    head = keras.Sequential(
        [
            keras.layers.Conv2D(256, 1, use_bias=False, name="head_conv"),
            keras.layers.BatchNormalization(name="head_bn"),
            keras.layers.ReLU(name="head_relu"),
            keras.layers.Conv2D(classes, 1, name="logits"),
        ],
        name="head",
    )
    return models.DeepLabV3Plus(
        backbone=backbone, num_classes=classes, segmentation_head=head
    )


def _keras_hub_classifier(name, input_shape, classes):
    models = _import("keras_hub").models
    constructor = getattr(models, name)
    # The argument's name differs from class to class.
    takes_shape = next(
        argument
        for argument in inspect.signature(constructor).parameters
        if argument in ("image_shape", "input_shape")
    )
    backbone = constructor(**{takes_shape: input_shape}, **KERAS_HUB[name])
    return models.ImageClassifier(backbone, num_classes=classes, activation=None)


def _keras_cv_classifier(name, input_shape, classes):
    models = _import("keras_cv").models
    backbone = getattr(models, name)(input_shape=input_shape, **KERAS_CV[name])
    inputs = keras.layers.Input(input_shape, name="image")
    x = keras.layers.GlobalAveragePooling2D(name="pool")(backbone(inputs))
    logits = keras.layers.Dense(classes, name="logits")(x)
    return keras.Model(inputs, logits, name=f"{backbone.name}_classifier")


def _import(library):
    try:
        return importlib.import_module(library)
    except ImportError as error:
        extra = library.replace("_", "-")
        raise ImportError(
            f"This student needs {extra}, which can't be imported ({error}). "
            f"Install it with `pip install keras_selfkd[{extra}]`."
        ) from error
