"""Looking at a data set before a long training does."""

import numpy as np
import tensorflow as tf

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
            pixels that are not finite, or labels that do not fit; the message names
            the batch.

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
    for number, (images, labels, *_) in enumerate(dataset):
        images = images["image"] if isinstance(images, dict) else images
        try:
            check_images(images, model.student.inputs[0].shape)
            supervision.check_labels(labels, model.student.outputs[0])
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
