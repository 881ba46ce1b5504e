"""Moving averages of BatchNorm that fit the weights, however short a training was."""

import contextlib

import keras
import numpy as np
import tensorflow as tf

from keras_selfkd.distributed.layers import batch_norms

# After 10 memories of the averages e^-10 = 0.005 % of their first values are left.
_MEMORIES = 10


def limit_batch_norm_momentum(model, steps):
    """Has the moving averages of BatchNorm span a tenth of a training at most.

    An average of momentum `m` remembers `1 / (1 - m)` steps. Networks made for long
    trainings remember 1,000 steps (momentum 0.999, MobileNetV3 and EfficientNet): after
    240 steps their averages still are the initial values, and the network is at chance
    on all images outside of training mode. A momentum that is lower already stays, and
    so do frozen layers. The layers are changed in place; weights stay.

    Args:
        model: Keras model, any nesting, before it is trained.
        steps: Number of batches of the whole training.

    Returns:
        The model.

    Example:

    >>> import keras
    >>> student = keras.applications.MobileNetV3Small(weights=None)
    >>> student = limit_batch_norm_momentum(student, steps=240)
    >>> print(f"{student.get_layer('conv_bn').momentum:.3f}")  # 1 - 10 / 240
    0.958
    """
    for layer in batch_norms(model):
        if layer.trainable:
            layer.momentum = min(layer.momentum, largest_momentum(steps))
    return model


def largest_momentum(steps):
    """Returns the momentum of averages that remember a tenth of some steps."""
    return max(0.0, 1.0 - _MEMORIES / steps)


def recalibrate_batch_norm(student, dataset):
    """Sets the moving averages of a student's BatchNorms anew, by a pass over data.

    For a network that does well in training and badly, or at chance, on the same
    images outside of it: its averages lag behind its weights, after a short training,
    or are of other data. The pass is one in training mode; each moving mean and
    variance becomes the mean over the batches, a batch counting by its images. As in
    Keras the variance of a batch is the biased one. Frozen layers and all other
    weights and states stay as they are.

    Args:
        student: Trained Keras model.
        dataset: Finite `tf.data.Dataset`, or another iterable, of batches `images` or
            `(images, ...)`: those that the student was trained on, batched,
            augmented and shuffled alike. Some 100 batches are enough.

    Returns:
        The student.

    Raises:
        ValueError: If the data set is empty or endless.

    Example:

    >>> import keras, numpy as np
    >>> images = keras.Input((1,))
    >>> student = keras.Model(images, keras.layers.BatchNormalization()(images))
    >>> batches = [np.array([[1.0], [3.0]]), np.array([[5.0], [9.0]])]
    >>> student = recalibrate_batch_norm(student, batches)
    >>> *_, mean, variance = student.get_weights()
    >>> print(mean, variance)  # of (2, 7) and of (1, 4)
    [4.5] [2.5]
    """
    if isinstance(dataset, tf.data.Dataset) and (
        dataset.cardinality() == tf.data.INFINITE_CARDINALITY
    ):
        raise ValueError(
            "Expected a finite data set, such as `dataset.take(100)`. Received: "
            f"dataset={dataset}, which is endless"
        )
    layers = [layer for layer in batch_norms(student) if layer.trainable]
    statistics = [v for layer in layers for v in layer.non_trainable_variables]
    with _latest_batch_only(student, layers):
        means = _means(student, statistics, dataset)
    for variable, mean in zip(statistics, means, strict=True):
        variable.assign(mean)
    return student


@contextlib.contextmanager
def _latest_batch_only(student, layers):
    """Inside, BatchNorms keep a batch's statistics; afterwards all is as before."""
    momenta = [layer.momentum for layer in layers]
    variables = student.variables
    values = [keras.ops.convert_to_numpy(variable) for variable in variables]
    for layer in layers:
        layer.momentum = 0.0
    try:
        yield
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)


def _means(student, variables, dataset):
    """Mean of each variable's values after a step in training mode on each batch."""
    step = tf.function(lambda images: student(images, training=True))
    sums, examples = [0.0] * len(variables), 0
    for batch in dataset:
        images, *_ = keras.utils.unpack_x_y_sample_weight(batch)
        images = images["image"] if isinstance(images, dict) else images
        step(keras.ops.convert_to_tensor(images))
        count = len(images)
        examples += count
        for i, variable in enumerate(variables):
            value = keras.ops.convert_to_numpy(variable).astype("float64")
            sums[i] = sums[i] + count * value
    if not examples:
        raise ValueError(
            "The data set is empty: it yields no batch. A generator can be read only "
            f"once. Received: dataset={dataset}"
        )
    return [np.divide(total, examples) for total in sums]
