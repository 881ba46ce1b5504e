"""Batches of a split: endless and shuffled to train on, finite to evaluate on.

Every random number depends only on the seed, the epoch and the position in the
epoch, so a run resumed at epoch k sees the batches of one never interrupted.
"""

import numpy as np
import tensorflow as tf

from examples.data.augmentation import random_resized_crop
from examples.data.splits import decoded, resizer
from keras_selfkd.batch import images_and_keys


def training_from_memory(images, labels, *, batch_size, seed, augment=None):
    """Builds training batches by gathering from arrays, a whole batch at a time.

    Args:
        images: uint8 array `(count, height, width, channels)`.
        labels: int32 array `(count,)`, or `(count, height, width)` masks.
        batch_size: Number of images of a batch.
        seed: Integer that decides order and augmentation.
        augment: Function `(images, labels, key)` that returns other images and labels
            of a batch; the same key, an integer tensor of shape `(2,)`, decides the
            same. Defaults to `None`.

    Returns:
        Function `train(first_epoch=0, context=None, index=False)` that returns an
        endless `tf.data.Dataset` of `(images, labels)`, with `index` of `({"image":
        images, "index": their numbers}, labels)`. With a `tf.distribute.InputContext`
        it yields one replica's parts of the batches that belong to the context's
        worker.
    """
    steps = len(labels) // batch_size
    images, labels = _on_cpu(images, labels)

    def epoch_rows(epoch):
        key = tf.stack((tf.constant(seed, tf.int64), epoch))
        order = tf.random.experimental.stateless_shuffle(tf.range(len(labels)), key)
        rows = tf.reshape(order[: steps * batch_size], (steps, batch_size))
        return _with_keys(tf.data.Dataset.from_tensor_slices(rows), key)

    def gather(rows, key):
        batch = tf.gather(images, rows), tf.gather(labels, rows)
        return augment(*batch, key) if augment else batch

    def gather_with_index(rows, key):
        return _beside(*gather(rows, key), rows)

    def train(first_epoch=0, context=None, index=False):
        batch = gather_with_index if index else gather
        whole = _parallel(_epochs(first_epoch).flat_map(epoch_rows), batch)
        if context is None:
            return whole
        part = slice(context.input_pipeline_id, None, context.num_input_pipelines)
        own = whole.map(
            lambda *batch: tf.nest.map_structure(lambda values: values[part], batch)
        )
        return own.rebatch(context.get_per_replica_batch_size(batch_size))

    return train


def training_streamed(split, image_shape, *, batch_size, seed, augment, mirror):
    """Builds training batches by reading the split again in every epoch.

    Args:
        split: A `Split`. Within its `shuffle_buffer` records are shuffled.
        image_shape: `(height, width, channels)` to bring the images to.
        batch_size: Number of images of a batch.
        seed: Integer that decides order and augmentation.
        augment: Whether to cut random resized crops.
        mirror: Whether to mirror them at random, too.

    Returns:
        Function as that of `training_from_memory`. A worker reads all records, and
        decodes its own.
    """
    count = split.count // batch_size * batch_size
    resize = resizer(image_shape)

    def epoch_records(epoch):
        key = tf.stack((tf.constant(seed, tf.int64), epoch))
        numbered = split.records.enumerate().batch(split.shuffle_buffer)
        chunks = _with_keys(numbered, key)
        records = chunks.map(_shuffle).prefetch(1).unbatch()
        return _with_keys(records.take(count), key)

    def prepare(element, key):
        _, (record, label) = element
        image = split.decode(record)
        if augment:
            return random_resized_crop(image, image_shape, key, mirror), label
        return resize(image), label

    def prepare_with_index(element, key):
        return _beside(*prepare(element, key), element[0])

    def train(first_epoch=0, context=None, index=False):
        context = context or tf.distribute.InputContext()
        own = (
            _epochs(first_epoch)
            .flat_map(epoch_records)
            .shard(context.num_input_pipelines, context.input_pipeline_id)
        )
        size = context.get_per_replica_batch_size(batch_size)
        prepared = _parallel(own, prepare_with_index if index else prepare)
        return prepared.batch(size, drop_remainder=True)

    return train


def evaluation_from_memory(images, labels, *, batch_size):
    """Builds batches of arrays in their order, the last one partial.

    Args:
        images: uint8 array `(count, height, width, channels)`.
        labels: int32 array `(count,)`, or `(count, height, width)` masks.
        batch_size: Number of images of a batch.

    Returns:
        Finite `tf.data.Dataset` of `(images, labels)`.
    """
    images, labels = _on_cpu(images, labels)

    def cut(start):
        rows = slice(start, start + batch_size)
        return images[rows], labels[rows]

    return _parallel(tf.data.Dataset.range(0, len(labels), batch_size), cut)


def evaluation_streamed(split, image_shape, *, batch_size):
    """Builds batches of a split in its order, read again for every pass.

    Args:
        split: A `Split`.
        image_shape: `(height, width, channels)` to bring the images to.
        batch_size: Number of images of a batch.

    Returns:
        Finite `tf.data.Dataset` of `(images, labels)`, the last batch partial.
    """
    return decoded(split, image_shape).batch(batch_size)


def pixel_statistics(images):
    """Computes mean and standard deviation of each channel.

    Args:
        images: uint8 array `(count, height, width, channels)`.

    Returns:
        Two float32 arrays `(channels,)`. The standard deviation is at least 1.
    """
    # From histograms: np.std would make a float64 copy, eight times the memory.
    values = np.arange(256)
    counts = np.stack(
        [np.bincount(channel.ravel(), minlength=256) for channel in images.T]
    )
    shares = counts / counts.sum(axis=1, keepdims=True)
    mean = shares @ values
    variance = np.sum(shares * (values - mean[:, None]) ** 2, axis=1)
    std = np.maximum(np.sqrt(variance), 1.0)
    return mean.astype("float32"), std.astype("float32")


def normalised(dataset, mean, std):
    """Normalises batches of images to float32 and prepares them ahead of use.

    Labels become int32. What stands beside images stays.
    """

    def normalise(images, labels):
        images, others = images_and_keys(images)
        images = (tf.cast(images, tf.float32) - mean) / std
        images = {"image": images, **others} if others else images
        return images, tf.cast(labels, tf.int32)

    return _parallel(dataset, normalise).prefetch(tf.data.AUTOTUNE)


def _on_cpu(*arrays):
    # tf.data gathers on the CPU; on a GPU they would only take its memory.
    with tf.device("CPU"):
        return [tf.constant(array) for array in arrays]


def _epochs(first_epoch):
    return tf.data.Dataset.range(first_epoch, tf.int64.max)


def _with_keys(dataset, key):
    def add_key(position, element):
        return element, tf.random.fold_in(key, position)

    return dataset.enumerate().map(add_key)


def _beside(images, labels, index):
    return {"image": images, "index": index}, labels


def _shuffle(chunk, key):
    numbers, _ = chunk
    order = tf.random.experimental.stateless_shuffle(tf.range(tf.size(numbers)), key)
    return tf.nest.map_structure(lambda values: tf.gather(values, order), chunk)


def _parallel(dataset, function):
    return dataset.map(
        function, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )
