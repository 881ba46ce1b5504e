"""Looking at a data set before a long training does, weighing and shuffling it."""

import keras
import numpy as np
import tensorflow as tf

from keras_selfkd.arguments import check_integer, check_number
from keras_selfkd.batch import (
    check_counts,
    check_like_images,
    check_needs,
    images_and_keys,
)
from keras_selfkd.pixels import fit_weight
from keras_selfkd.supervision import Supervision


def check_data(dataset, model):
    """Reads a data set once and refuses what training would trip over.

    Args:
        dataset: Finite `tf.data.Dataset`, or another iterable, of batches `(images,
            labels)` or `(images, labels, sample_weight)`.
        model: Compiled `SelfDistillationModel`; its student's input size, number of
            classes and loss say what fits.

    Returns:
        Number of examples.

    Raises:
        ValueError: if there is no example, or a batch with images of another size,
            pixels that are not finite, labels that do not fit, or without what the
            method needs; the message names the batch.

    Example:

    >>> import keras, numpy as np
    >>> from keras_selfkd import SelfDistillationModel, Supervised
    >>> images = keras.Input((8, 8, 1))
    >>> logits = keras.layers.Dense(3)(keras.layers.Flatten()(images))
    >>> student = keras.Model(images, logits)
    >>> model = SelfDistillationModel(student, Supervised())
    >>> model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    >>> check_data([(np.zeros((4, 8, 8, 1)), np.array([0, 1, 2, 3]))], model)
    Traceback (most recent call last):
    ValueError: Batch 0: ...Labels must lie in [0, 3)...
    """
    supervision = Supervision(model.loss)
    examples = 0
    for number, data in enumerate(dataset):
        x, labels, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        try:
            images, others = images_and_keys(x)
            check_images(images, model.student.inputs[0].shape)
            check_needs(model.method, others)
            check_like_images({"x": images, **others})
            supervision.check_labels(labels, model.student.outputs[0])
            check_counts(
                {"x": images, "y": labels, "sample_weight": sample_weight, **others}
            )
        except (ValueError, tf.errors.InvalidArgumentError) as error:
            message = getattr(error, "message", str(error))
            raise ValueError(f"Batch {number}: {message}") from error
        examples += len(labels)
    if not examples:
        raise ValueError(
            "The data set is empty: it yields no batch. A `tf.data` pipeline that "
            "filters, or drops the last partial batch, may leave nothing; a generator "
            f"can be read only once. Received: {dataset}"
        )
    return examples


def check_images(images, shape):
    if tuple(images.shape[1:]) != tuple(shape[1:]):
        raise ValueError(
            f"The student takes images {tuple(shape[1:])} (height, width, channels). "
            f"Received: images with shape {tuple(images.shape)}"
        )
    if not np.all(np.isfinite(np.asarray(images))):
        raise ValueError("The images have pixels that are NaN or infinite.")


def with_class_weights(dataset, class_weight):
    """Weighs each example or pixel by the class of its label.

    `fit(class_weight=...)` of Keras takes one label an example; this takes masks, too.

    Args:
        dataset: `tf.data.Dataset` of batches `(images, labels)` or `(images, labels,
            sample_weight)` with integer labels `(batch,)`, `(batch, height, width)` or
            `(batch, height, width, 1)`; weights that are there are multiplied.
        class_weight: Dict from label to weight; labels that are not in it, such as
            void, weigh 1.

    Returns:
        `tf.data.Dataset` of `(images, labels, sample_weight)`, the weights float32 and
        of the labels' shape, without a last axis of 1.

    Raises:
        ValueError: if `class_weight` is no dict, is empty, or has a label or a weight
            below 0.

    Example:

    >>> masks = tf.constant([[[0, 1, 255]]])
    >>> batches = tf.data.Dataset.from_tensors((tf.zeros((1, 1, 3, 1)), masks))
    >>> ((_, _, weights),) = with_class_weights(batches, {0: 0.5, 1: 3.0})
    >>> print(weights.numpy())
    [[[0.5 3.  1. ]]]
    """
    if not isinstance(class_weight, dict) or min(class_weight, default=-1) < 0:
        raise ValueError(
            "Expected a dict from labels of at least 0 to weights. Received: "
            f"class_weight={class_weight}"
        )
    for label, weight in class_weight.items():
        check_number(at_least=0, **{f"the weight of label {label}": weight})
    table = np.ones(max(class_weight) + 2, "float32")
    table[list(class_weight)] = list(class_weight.values())

    def weigh(images, labels, sample_weight=None):
        found = tf.cast(labels, tf.int32)
        if found.shape.rank in (2, 4) and found.shape[-1] == 1:
            found = tf.squeeze(found, -1)
        # All labels that are not in the table take its last entry, 1.
        other = (found < 0) | (found >= len(table))
        known = tf.where(other, len(table) - 1, found)
        weights = tf.gather(tf.constant(table), known)
        if sample_weight is not None:
            given = tf.cast(sample_weight, weights.dtype)
            weights *= fit_weight(given, weights.shape.rank)
        return images, labels, weights

    return dataset.map(weigh, num_parallel_calls=tf.data.AUTOTUNE)


def epochs(dataset, *, batch_size, seed=0, first=0):
    """Endless shuffled batches whose order depends on seed and epoch alone.

    So a training that is resumed at epoch `first` sees what it would have seen. Call
    `fit` with `steps_per_epoch`, the batches of one pass, the last partial one
    included. All examples of an epoch are in memory at a time.

    Args:
        dataset: Finite `tf.data.Dataset` of single examples, tuples.
        batch_size: Integer, examples of a batch.
        seed: Integer. Defaults to 0.
        first: Integer, the number of the first epoch. Defaults to 0.

    Returns:
        `tf.data.Dataset` of batches.

    Raises:
        ValueError: if the number of examples is not known, or is 0.

    Example:

    >>> images = np.zeros((4, 8, 8, 1))
    >>> examples = tf.data.Dataset.from_tensor_slices((images, range(4)))
    >>> for _, labels in epochs(examples, batch_size=4).take(2):
    ...     print(labels.numpy())
    [2 1 0 3]
    [3 0 2 1]
    >>> for _, labels in epochs(examples, batch_size=4, first=1).take(1):
    ...     print(labels.numpy())
    [3 0 2 1]
    """
    check_integer(batch_size=batch_size)
    check_integer(least=0, seed=seed, first=first)
    count = int(dataset.cardinality())
    if count < 1:
        raise ValueError(
            "Expected a data set of a known number of examples, above 0; say it with "
            f"`dataset.apply(tf.data.experimental.assert_cardinality(count))`. "
            f"Received: dataset.cardinality()={count}"
        )

    # Not `shuffle`, whose order depends on TensorFlow's global seed, too.
    def one(epoch):
        key = tf.stack([tf.constant(seed, tf.int64), epoch])
        order = tf.random.experimental.stateless_shuffle(tf.range(count), key)
        shuffled = dataset.batch(count).map(
            lambda *all: tf.nest.map_structure(lambda one: tf.gather(one, order), all)
        )
        return shuffled.unbatch().batch(batch_size)

    return tf.data.Dataset.range(first, tf.int64.max).flat_map(one)
