"""What a data set yields beside its images, for methods that need it."""

import tensorflow as tf

from keras_selfkd.arguments import check_integer
from keras_selfkd.batch import images_and_keys


def with_index(dataset):
    """Numbers the images, for methods that remember something of each.

    Args:
        dataset: `tf.data.Dataset` of single examples `(image, label)` or `(image,
            label, sample_weight)` that always come in the same order: number first,
            shuffle and batch after.

    Returns:
        `tf.data.Dataset` of `({"image": image, "index": index}, label, ...)`.

    Raises:
        ValueError: if the data set yields batches.

    Example:

    >>> images = tf.zeros((3, 8, 8, 1))
    >>> examples = tf.data.Dataset.from_tensor_slices((images, [5, 6, 7]))
    >>> for x, label in with_index(examples).shuffle(3).batch(3):
    ...     print(sorted(zip(x["index"].numpy().tolist(), label.numpy().tolist())))
    [(0, 5), (1, 6), (2, 7)]
    """
    check_single_images(dataset)

    def number(index, example):
        images, others = images_and_keys(example[0])
        return {"image": images, **others, "index": index}, *example[1:]

    return dataset.enumerate().map(number)


def pairs_by_class(dataset):
    """Gives each image another one of its class as a partner.

    Two successive images of a class become partners of each other, so shuffle before:
    then each pass pairs them anew. They follow each other in what it yields; images
    that are left over at the end, one a class, are their own partners.

    Args:
        dataset: `tf.data.Dataset` of single examples `(image, label)` or `(image,
            label, sample_weight)` with integer labels.

    Returns:
        `tf.data.Dataset` of `({"image": image, "pair": image}, label, ...)`, as many as
        before.

    Raises:
        ValueError: if the data set yields batches, or labels that are no integers.

    Example:

    >>> images = tf.reshape(tf.range(4.0), (4, 1, 1, 1))
    >>> examples = tf.data.Dataset.from_tensor_slices((images, [0, 1, 0, 0]))
    >>> for x, label in pairs_by_class(examples):
    ...     print(int(label), x["image"].numpy().item(), x["pair"].numpy().item())
    0 0.0 2.0
    0 2.0 0.0
    0 3.0 3.0
    1 1.0 1.0
    """
    check_single_images(dataset)
    label = dataset.element_spec[1]
    if label.shape.rank != 0 or not label.dtype.is_integer:
        raise ValueError(f"Expected integer labels. Received: labels {label}")

    def both(class_id, examples):
        return examples.batch(2).map(as_partners).unbatch()

    def as_partners(x, *rest):
        images, others = images_and_keys(x)
        return {"image": images, **others, "pair": images[::-1]}, *rest

    paired = dataset.group_by_window(lambda x, y, *_: tf.cast(y, tf.int64), both, 2)
    count = int(dataset.cardinality())
    if count < 0:  # Endless, or not known.
        return paired
    # As Keras warns at the first epoch's end of a count that it has not been told.
    return paired.apply(tf.data.experimental.assert_cardinality(count))


def overlapping(dataset, batch_size):
    """Batches whose first half repeats the last one's second half.

    Augment after it, so that an image which comes again looks different.

    Args:
        dataset: `tf.data.Dataset` of single examples `(image, label)` or `(image,
            label, sample_weight)`, shuffled; repeated, for batches across its end.
        batch_size: Even integer.

    Returns:
        `tf.data.Dataset` of batches `({"image": images, "previous": positions}, labels,
        ...)`: where each image stood in the last batch, -1 where it did not. Examples
        that fill no half batch at the end are left out.

    Raises:
        ValueError: for an odd `batch_size`, or if the data set yields batches.

    Example:

    >>> images = tf.reshape(tf.range(6.0), (6, 1, 1, 1))
    >>> examples = tf.data.Dataset.from_tensor_slices((images, range(6)))
    >>> for x, labels in overlapping(examples, batch_size=4):
    ...     print(labels.numpy(), x["previous"].numpy())
    [0 1 2 3] [-1 -1 -1 -1]
    [2 3 4 5] [ 2  3 -1 -1]
    """
    check_integer(least=2, batch_size=batch_size)
    if batch_size % 2:
        raise ValueError(f"Expected an even batch_size. Received: {batch_size}")
    check_single_images(dataset)
    half = batch_size // 2
    halves = dataset.batch(half, drop_remainder=True)
    spec = halves.element_spec
    start = tf.nest.map_structure(lambda one: tf.zeros(one.shape, one.dtype), spec)

    def join(last, now):
        batch = tf.nest.map_structure(lambda *both: tf.concat(both, 0), last, now)
        return now, batch

    def mark(number, batch):
        images, others = images_and_keys(batch[0])
        again = tf.where(number > 0, tf.range(half, batch_size), -1)
        previous = tf.concat([again, tf.fill([half], -1)], 0)
        return {"image": images, **others, "previous": previous}, *batch[1:]

    return halves.scan(start, join).skip(1).enumerate().map(mark)


def check_single_images(dataset):
    """Refuses data sets of batches, and of something else than images and labels."""
    spec = dataset.element_spec
    image = images_and_keys(spec[0])[0] if isinstance(spec, tuple) else None
    if getattr(image, "shape", None) is None or image.shape.rank != 3 or len(spec) < 2:
        raise ValueError(
            "Expected a data set of single examples (image, label), the image (height, "
            f"width, channels), before `batch`. Received: {spec}"
        )
