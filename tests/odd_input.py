"""Students, batches, losses and settings, ordinary and odd, for tests/hostile.py."""

import warnings
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import layers

import keras_selfkd
from keras_selfkd import SigmoidRampUp, methods
from keras_selfkd.method import arguments_of

# All but those that want a network which is trained already.
METHODS = (
    "Supervised",
    *(n for n in methods.__all__ if "teacher" not in arguments_of(getattr(methods, n))),
)
VOID = 255


def mean_of_the_batch(targets, logits):
    losses = keras.losses.categorical_crossentropy(targets, logits, from_logits=True)
    return keras.ops.mean(losses)


# Each with the form of its targets: integers, vectors of a class, or one bit a label.
LOSSES = {
    "sparse": (keras.losses.SparseCategoricalCrossentropy, "integer"),
    "categorical": (keras.losses.CategoricalCrossentropy, "one hot"),
    "focal": (keras.losses.CategoricalFocalCrossentropy, "one hot"),
    "binary": (keras.losses.BinaryCrossentropy, "bits"),
    "binary focal": (keras.losses.BinaryFocalCrossentropy, "bits"),
    "one value": (lambda from_logits: mean_of_the_batch, "one hot"),
}
# These take probabilities alone, which the students do not give.
OF_PROBABILITIES = {
    "dice": keras.losses.Dice,
    "tversky": keras.losses.Tversky,
    "kl divergence": keras.losses.KLDivergence,
    "poisson": keras.losses.Poisson,
    "generalized": keras.losses.CategoricalGeneralizedCrossEntropy,
}


def shares(labels, case):
    soft = np.random.default_rng(case.seed).random(labels.shape, "float32")
    return soft / soft.sum(-1, keepdims=True) if form_of(case) == "one hot" else soft


def one_channel(labels, case):
    return labels if form_of(case) == "one hot" else labels[..., None]


# Of whole numbers that fit, or of vectors of them; the first seven still do.
LABELS = {
    "good": lambda labels, case: labels,
    "float": lambda labels, case: labels.astype("float32"),
    "bool": lambda labels, case: labels > 0,
    "uint8": lambda labels, case: (labels % 100).astype("uint8"),
    "int8": lambda labels, case: (labels % 100).astype("int8"),
    "soft": shares,
    "channel": one_channel,
    "too large": lambda labels, case: labels + case.classes + 1,
    "negative": lambda labels, case: labels - max(case.classes, 2),
    "halves": lambda labels, case: labels + 0.5,
    "times 255": lambda labels, case: labels * 255,
    "minus one or one": lambda labels, case: np.where(labels > 0, 1, -1),
    "wrong rank": lambda labels, case: labels[..., None, None],
    "all void": lambda labels, case: np.full_like(labels, VOID),
    "strings": lambda labels, case: labels.astype(str),
}
ORDINARY_LABELS = tuple(LABELS)[:7]
ODD = {
    "kind": ("sequential", "nested", "rescaling", "flipping"),
    "loss": (*LOSSES, *OF_PROBABILITIES),
    "pixels": ("constant", "zero", "nan", "inf", "huge"),
    "dtype": ("uint8", "float16", "float64", "int64", "bool"),
    "keys": ("image", "index", "y", "coordinate"),
    "labels": tuple(LABELS)[1:],
    "sample_weight": ("ones", "zeros", "nan", "wrong shape"),
    "soft_label_weight": (0.0, -1.0, float("inf"), float("nan"), "ramp", None),
    "feature_weight": (0.0, -1.0, float("inf"), float("nan"), "ramp", None),
    "temperature": (1e-6, 1e6, 0.0, -1.0, float("nan")),
}


class Case(NamedTuple):
    """What is trained, on what, and how; by default all is ordinary."""

    method: str = "Supervised"
    kind: str = "functional"
    size: tuple = (8, 8, 3)
    stages: tuple = (4, 6)
    dense: bool = False
    classes: int = 3
    loss: str = "sparse"
    images: int = 3
    pixels: str = "normal"
    dtype: str = "float32"
    keys: str = "none"
    labels: str = "good"
    sample_weight: str = "none"
    soft_label_weight: Any = 1.0
    feature_weight: Any = 1.0
    temperature: float = 4.0
    seed: int = 0


def student_of(case):
    if case.kind == "sequential":
        return keras.Sequential([keras.Input(case.size), *sequence(case)])
    images = x = keras.Input(case.size)
    if case.kind == "rescaling":
        x = layers.Rescaling(0.5)(x)
    if case.kind == "flipping":
        x = layers.RandomFlip("horizontal")(x)
    student = keras.Model(
        images, dense_logits(x, case) if case.dense else logits(x, case)
    )
    if case.kind == "nested":
        return keras.Model(images, student(images))
    return student


def sequence(case):
    conv = {"strides": 2, "padding": "same", "activation": "relu"}
    stages = [layers.Conv2D(channels, 3, **conv) for channels in case.stages]
    return [*stages, layers.GlobalAveragePooling2D(), layers.Dense(case.classes)]


def logits(x, case):
    for layer in sequence(case):
        x = layer(x)
    return x


def dense_logits(x, case):
    maps = []
    for layer in sequence(case)[:-2]:
        x = layer(x)
        maps.append(x)
    for finer in maps[-2::-1]:
        x = layers.Resizing(*finer.shape[1:3])(x)
        x = layers.Concatenate()([finer, x])
        x = layers.Conv2D(finer.shape[-1], 3, padding="same", activation="relu")(x)
    return layers.Conv2D(case.classes, 1)(x)


def batch_of(case):
    """Images, labels and sample weights."""
    rng = np.random.default_rng(case.seed)
    images = rng.normal(size=(case.images, *case.size))
    if case.pixels == "constant":
        images[:] = 3.0
    elif case.pixels == "zero":
        images[:] = 0.0
    elif case.pixels in ("nan", "inf"):
        images[0, 0, 0, 0] = float(case.pixels)
    elif case.pixels == "huge":
        images *= 1e30
    with np.errstate(invalid="ignore", over="ignore"), warnings.catch_warnings():
        images = images.astype(case.dtype)
    shape = (case.images, *case.size[:2]) if case.dense else (case.images,)
    return keyed(images, case), labels_of(case, shape, rng), weights_of(case, shape)


def keyed(images, case):
    """The images, alone or in a dict; `y` and `coordinate` are keys of nobody."""
    needs = getattr(keras_selfkd, case.method).needs
    if case.keys == "none" and not needs:
        return images
    image = {"image": images, **dict.fromkeys(needs, np.arange(len(images)))}
    if case.keys == "none":
        return image
    return (
        image if case.keys == "image" else image | {case.keys: np.arange(len(images))}
    )


def form_of(case):
    return LOSSES[case.loss][1] if case.loss in LOSSES else "one hot"


def labels_of(case, shape, rng):
    form, classes = form_of(case), case.classes
    if form == "bits":
        shape = (*shape, classes) if classes > 1 else shape
        labels = rng.integers(2, size=shape)
    else:
        labels = rng.integers(classes, size=shape)
    if form == "one hot":
        labels = np.eye(classes, dtype="float32")[labels]
    return LABELS[case.labels](labels, case)


def weights_of(case, shape):
    return {
        "none": None,
        "ones": np.ones(shape[:1], "float32"),
        "zeros": np.zeros(shape[:1], "float32"),
        "nan": np.full(shape[:1], np.nan, "float32"),
        "wrong shape": np.ones(shape[0] + 1, "float32"),
    }[case.sample_weight]


def method_of(case):
    def weight(value):
        return SigmoidRampUp(0, 10, 1.0) if value == "ramp" else value

    create = getattr(keras_selfkd, case.method)
    settings = {
        "soft_label_weight": weight(case.soft_label_weight),
        "feature_weight": weight(case.feature_weight),
        "temperature": case.temperature,
        "channels": 4,
        "depth": 1,
        "examples": case.images,
    }
    taken = arguments_of(create)
    return create(**{name: settings[name] for name in settings if name in taken})


def loss_of(case):
    if case.loss in OF_PROBABILITIES:
        return OF_PROBABILITIES[case.loss]()
    if case.loss == "sparse" and case.labels == "all void":
        return keras.losses.SparseCategoricalCrossentropy(True, VOID)
    return LOSSES[case.loss][0](from_logits=True)
