"""Students by name: this project's networks, `keras.applications`, hub backbones."""

import difflib
import functools
import inspect

import keras

from examples.students import backbones
from examples.students.convnets import (
    plain_cnn,
    resnet18,
    sequential_cnn,
    small_resnet,
    thin_resnet18,
    wide_resnet16_2,
    without_rescaling,
)
from examples.students.segmenters import (
    efficientnet_bifpn,
    mobilenet_v3_fpn,
    thin_unet,
    unet,
)

_NETWORKS = (
    plain_cnn,
    sequential_cnn,
    small_resnet,
    resnet18,
    thin_resnet18,
    wide_resnet16_2,
)


def student_builders():
    """Lists the students that `build_student` knows.

    Returns:
        Dict from name to a function `(input_shape, classes)` that builds the model.
        Names of keras-hub and keras-cv start with `keras_hub:` and `keras_cv:`.
    """
    return (
        {function.__name__: function for function in _NETWORKS}
        | {
            name: functools.partial(_application, constructor)
            for name, constructor in vars(keras.applications).items()
            if inspect.isfunction(constructor)
        }
        | backbones.classifier_builders()
    )


def segmenter_builders():
    """Lists the segmenters that `build_segmenter` knows, as `student_builders` does."""
    networks = (thin_unet, unet, mobilenet_v3_fpn, efficientnet_bifpn)
    own = {function.__name__: function for function in networks}
    return own | backbones.segmenter_builders()


def build_segmenter(name, input_shape, classes):
    """Builds a pixel classifier by name, with fresh weights and logits as its output.

    Args:
        name: A network of `examples.students.segmenters` (`"thin_unet"`), or
            `"keras_hub:DeepLabV3ImageSegmenter"` or `"keras_cv:DeepLabV3Plus"`. Case
            and underscores don't matter.
        input_shape: `(height, width, channels)` of the images.
        classes: Number of classes.

    Returns:
        A functional `keras.Model` from normalised images to logits `(batch, height,
        width, classes)`.

    Raises:
        ValueError: If no segmenter has this name.
        ImportError: If the name needs keras-hub or keras-cv, which isn't installed.

    Example:
    >>> build_segmenter("thin_unet", (64, 64, 1), classes=11).output.shape
    (None, 32, 32, 11)
    """
    kinds = "network of examples/students or a DeepLab of keras-hub or keras-cv"
    return _named(name, segmenter_builders(), kinds)(input_shape, classes)


def build_student(name, input_shape, classes):
    """Builds a student by name, with fresh weights and logits as its output.

    Args:
        name: A network of `examples.students.convnets` (`"resnet18"`), a model of
            `keras.applications` (`"MobileNetV3Small"`) or a backbone of keras-hub
            or keras-cv (`"keras_hub:ResNetBackbone"`; without the prefix keras-hub
            comes first). Case and underscores don't matter.
        input_shape: `(height, width, channels)` of the images.
        classes: Number of classes.

    Returns:
        A functional `keras.Model` from normalised images to logits.

    Raises:
        ValueError: If no student has this name.
        ImportError: If the name needs keras-hub or keras-cv, which isn't installed.

    Example:
    >>> build_student("small_resnet", (32, 32, 1), classes=10).output.shape
    (None, 10)
    """
    kinds = (
        "network of examples/students, a model of keras.applications or a "
        "keras-hub or keras-cv backbone"
    )
    return _named(name, student_builders(), kinds)(input_shape, classes)


def _named(name, builders, kinds):
    known = {}
    for full_name in builders:
        known.setdefault(_plain(full_name), full_name)
        known.setdefault(_plain(full_name.split(":")[-1]), full_name)
    if _plain(name) not in known:
        close = difflib.get_close_matches(_plain(name), known, n=3, cutoff=0.3)
        raise ValueError(
            f"Expected `name` to be a {kinds}. The closest names: "
            f"{[known[match] for match in close]}. Received: name={name!r}"
        )
    return builders[known[_plain(name)]]


def _plain(name):
    return name.lower().replace("_", "").replace("-", "")


def _application(constructor, input_shape, classes):
    options = {}
    if "include_preprocessing" in inspect.signature(constructor).parameters:
        options["include_preprocessing"] = False
    try:
        student = constructor(
            weights=None,
            input_shape=input_shape,
            classes=classes,
            classifier_activation=None,
            **options,
        )
    except ValueError as error:
        raise ValueError(
            f"{constructor.__name__} does not take images of {input_shape}. Choose "
            f"another --image_size or student. Keras says: {error}"
        ) from error
    without_rescaling(student)
    return student
