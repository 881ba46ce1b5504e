"""Odd students, batches and settings, and whether training is right about them.

Right is: one finite step that changes weights; or an error that says what is wrong
before any weight has changed; or, where a loss is not finite, a logged NaN or infinity
and weights that are as they were.
"""

import warnings
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from hypothesis import strategies as st
from keras import layers

import keras_selfkd
from keras_selfkd import SelfDistillationModel, SigmoidRampUp

METHODS = ("Supervised", "FRSKD", "FRSKD_SLA", "MixSKD", "NFD")
LABELS = (
    "good",
    "one hot",
    "too large",
    "negative",
    "float",
    "halves",
    "wrong rank",
    "all void",
    "strings",
)
PIXELS = ("normal", "constant", "zero", "nan", "inf", "huge")
WEIGHTS = (0.0, 1.0, -1.0, float("inf"), float("nan"), "ramp", None)
TEMPERATURES = (4.0, 1e-6, 1e6, 0.0, -1.0, float("nan"))
VOID = 255


class Case(NamedTuple):
    """What is trained, on what, and how."""

    method: str
    size: tuple
    stages: list
    dense: bool
    classes: int
    images: int
    pixels: str
    dtype: str
    labels: str
    sample_weight: str
    soft_label_weight: Any
    feature_weight: Any
    temperature: float
    seed: int


class Outcome(NamedTuple):
    """What came of it: `trained`, `skipped` or `refused`, and the error's text."""

    kind: str
    message: str = ""


def cases():
    """Hypothesis strategy of cases; most settings of each are ordinary."""

    def mostly(usual, others):
        return st.sampled_from([usual] * 7 * len(others) + [*others])

    def possible(case):
        # FRSKD_SLA takes classes of square images only.
        if case.method == "FRSKD_SLA":
            case = case._replace(dense=False, size=(case.size[0], *case.size[::2]))
        return case

    side = st.integers(8, 33)
    channels = st.one_of(st.integers(1, 17), st.sampled_from([1, 31, 64, 257]))
    stages = mostly(2, [1]).flatmap(
        lambda n: st.lists(channels, min_size=n, max_size=8)
    )
    return st.builds(
        Case,
        method=st.sampled_from(METHODS),
        size=st.tuples(side, side, st.integers(1, 4)),
        stages=stages,
        dense=st.booleans(),
        classes=st.sampled_from([1, 2, 3, 10, 1000]),
        images=st.sampled_from([1, 2, 3, 5]),
        pixels=mostly("normal", PIXELS),
        dtype=mostly("float32", ("uint8", "float16", "float64", "int64", "bool")),
        labels=mostly("good", LABELS),
        sample_weight=mostly("none", ("ones", "zeros", "nan", "wrong shape")),
        soft_label_weight=mostly(1.0, WEIGHTS),
        feature_weight=mostly(1.0, WEIGHTS),
        temperature=mostly(4.0, TEMPERATURES),
        seed=st.integers(0, 2**16),
    ).map(possible)


def student_of(case):
    images = x = keras.Input(case.size)
    maps = []
    for channels in case.stages:
        x = layers.Conv2D(channels, 3, strides=2, padding="same", activation="relu")(x)
        maps.append(x)
    if not case.dense:
        x = layers.GlobalAveragePooling2D()(x)
        return keras.Model(images, layers.Dense(case.classes)(x))
    for finer in maps[-2::-1]:
        x = layers.Resizing(*finer.shape[1:3])(x)
        x = layers.Concatenate()([finer, x])
        x = layers.Conv2D(finer.shape[-1], 3, padding="same", activation="relu")(x)
    return keras.Model(images, layers.Conv2D(case.classes, 1)(x))


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
    labels = spoilt(rng.integers(max(case.classes, 2), size=shape), case)
    if case.dense and case.classes == 1:
        labels = labels[..., None]  # Keras's binary loss wants the logits' shape.
    return images, labels, sample_weights(case, shape)


def spoilt(labels, case):
    match case.labels:
        case "one hot":
            return np.eye(max(case.classes, 2), dtype="float32")[labels]
        case "too large":
            return labels + case.classes + 1
        case "negative":
            return labels - max(case.classes, 2)
        case "float":
            return labels.astype("float32")
        case "halves":
            return labels + 0.5
        case "wrong rank":
            return labels[..., None, None]
        case "all void":
            return np.full_like(labels, VOID)
        case "strings":
            return labels.astype(str)
    return labels


def sample_weights(case, shape):
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
    if case.method == "Supervised":
        return create()
    settings = {
        "soft_label_weight": weight(case.soft_label_weight),
        "feature_weight": weight(case.feature_weight),
        "temperature": case.temperature,
    }
    if case.method != "MixSKD":
        settings |= {"channels": 4, "depth": 1}
    return create(**settings)


def loss_of(case):
    if case.classes == 1:
        return keras.losses.BinaryCrossentropy(from_logits=True)
    if case.labels == "one hot":
        return keras.losses.CategoricalCrossentropy(from_logits=True)
    return keras.losses.SparseCategoricalCrossentropy(
        from_logits=True, ignore_class=VOID if case.labels == "all void" else None
    )


def values(model):
    return [v.numpy() for v in model.variables if "seed" not in v.name]


def outcome(case, eager=True):
    """Trains a step, and where it trains one on a partial batch; the first `Outcome`.

    Raises:
        AssertionError: if training is wrong about the case.
    """
    keras.utils.clear_session()
    keras.utils.set_random_seed(case.seed)
    batch = batch_of(case)
    student = student_of(case)
    before = values(student)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = SelfDistillationModel(student, method_of(case))
            model.compile(keras.optimizers.SGD(0.01), loss_of(case), run_eagerly=eager)
            before = values(model)
            logs = model.train_on_batch(*batch, return_dict=True)
    except (ValueError, TypeError, tf.errors.InvalidArgumentError) as error:
        message = getattr(error, "message", str(error))
        after = values(student if len(before) == len(student.variables) else model)
        assert is_ours(message), f"No message of ours: {message}"
        assert same(before, after), f"Refused too late: {message}"
        return Outcome("refused", message)
    counts = case.sample_weight != "zeros" and case.labels != "all void"
    first = judged(model, before, logs, counts)
    if first.kind == "trained" and case.images > 1:
        before = values(model)
        partial = [part if part is None else part[:1] for part in batch]
        judged(model, before, model.train_on_batch(*partial, return_dict=True), counts)
    return first


def is_ours(message):
    """Whether a refusal says what it expected, not what an operator met."""
    return "Received" in message and "Received a label value" not in message


def judged(model, before, logs, counts):
    """The `Outcome` of a step that ran; one that `counts` must change a weight."""
    after = values(model)
    assert all(np.all(np.isfinite(value)) for value in after), f"Not finite: {logs}"
    if all(np.isfinite(value) for value in logs.values()):
        # A single logit of bytes may be right beyond its precision.
        counts = counts and (logs["loss"] > 0 or model.student.output_shape[-1] > 1)
        assert not (counts and same(before, after)), f"Nothing changed: {logs}"
        return Outcome("trained")
    assert same(before, after), f"Changed by what is not finite: {logs}"
    return Outcome("skipped", str(logs))


def same(before, after):
    return all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
