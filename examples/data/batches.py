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
        Function `train(first_epoch=0, context=None, index=False, class_mates=False,
        draw=0, size=batch_size)` that returns an endless `tf.data.Dataset` of `(images,
        labels)`, with `index` of `({"image": images, "index": their numbers}, labels)`;
        with `class_mates` images of a class stand side by side, two by two; `draw`
        is the number of another augmentation of the same images; `size` is that of a
        batch. With a `tf.distribute.InputContext` it yields one replica's parts of the
        batches that belong to the context's worker.
    """
    images, labels = _on_cpu(images, labels)

    def epoch_rows(epoch, steps, size, class_mates):
        key = tf.stack((tf.constant(seed, tf.int64), epoch))
        order = tf.random.experimental.stateless_shuffle(tf.range(len(labels)), key)
        rows = tf.data.Dataset.from_tensor_slices(
            tf.reshape(order[: steps * size], (steps, size))
        )
        if class_mates:
            one_by_one = rows.unbatch().map(lambda row: (row, tf.gather(labels, row)))
            rows = _class_mates(one_by_one).map(lambda row, _: row).batch(size, True)
        return _with_keys(rows, key)

    def gather(rows, key):
        batch = tf.gather(images, rows), tf.gather(labels, rows)
        return augment(*batch, key) if augment else batch

    def train(
        first_epoch=0,
        context=None,
        index=False,
        class_mates=False,
        draw=0,
        size=batch_size,
    ):
        steps = len(labels) // size

        def batch(rows, key):
            images, labels = gather(rows, _drawn(key, draw))
            return _beside(images, labels, rows) if index else (images, labels)

        rows = _epochs(first_epoch).flat_map(
            lambda epoch: epoch_rows(epoch, steps, size, class_mates)
        )
        whole = _parallel(rows, batch)
        if context is None:
            return whole
        own = size // context.num_input_pipelines  # Side by side: so stay partners.
        first = own * context.input_pipeline_id
        part = slice(first, first + own)
        shared = whole.map(
            lambda *batch: tf.nest.map_structure(lambda values: values[part], batch)
        )
        return shared.rebatch(context.get_per_replica_batch_size(size))

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
        decodes its own; class mates are both of one worker.
    """
    resize = resizer(image_shape)

    def epoch_records(epoch, count, context, class_mates):
        key = tf.stack((tf.constant(seed, tf.int64), epoch))
        numbered = split.records.enumerate().batch(split.shuffle_buffer)
        chunks = _with_keys(numbered, key)
        records = chunks.map(_shuffle).prefetch(1).unbatch()
        keyed = _with_keys(records.take(count), key)
        own = keyed.shard(context.num_input_pipelines, context.input_pipeline_id)
        if not class_mates:
            return own
        labelled = own.map(lambda element, key: ((element, key), element[1][1]))
        return _class_mates(labelled).map(lambda keyed, _: keyed)

    def prepare(element, key):
        _, (record, label) = element
        image = split.decode(record)
        if augment:
            return random_resized_crop(image, image_shape, key, mirror), label
        return resize(image), label

    def train(
        first_epoch=0,
        context=None,
        index=False,
        class_mates=False,
        draw=0,
        size=batch_size,
    ):
        context = context or tf.distribute.InputContext()
        count = split.count // size * size

        def example(element, key):
            image, label = prepare(element, _drawn(key, draw))
            return _beside(image, label, element[0]) if index else (image, label)

        own = _epochs(first_epoch).flat_map(
            lambda epoch: epoch_records(epoch, count, context, class_mates)
        )
        each = context.get_per_replica_batch_size(size)
        return _parallel(own, example).batch(each, drop_remainder=True)

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


def _drawn(key, draw):
    """The key of another draw of random numbers; that of draw 0 is the key itself."""
    return tf.random.fold_in(key, draw) if draw else key


def _class_mates(examples):
    """Examples `(..., label)` with those of a class side by side, two by two.

    Of each class one may be left over; they come last.
    """
    return examples.group_by_window(
        lambda *example: tf.cast(example[-1], tf.int64), lambda _, two: two, 2
    )


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
