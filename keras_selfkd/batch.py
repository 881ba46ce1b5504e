"""A user's batch as the dict that a method gets."""

import keras
import tensorflow as tf

from keras_selfkd.arguments import check_single
from keras_selfkd.distributed.replicas import batch_of_replica
from keras_selfkd.pixels import is_dense

# What a data set may yield beside its images, `{"image": images, "index": ...}`, and
# how it comes to do so.
KEYS = {
    "index": "`keras_selfkd.with_index(dataset)`",
    "pair": "`keras_selfkd.pairs_by_class(dataset)`",
    "view": "`dataset.map(lambda image, label: "
    '({"image": augment(image), "view": augment(image)}, label))`',
    "previous": "`keras_selfkd.overlapping(dataset, batch_size=...)`",
}


def checked_batch(data, logits, supervision):
    """A step's batch, checked, as this replica computes it.

    Args:
        data: What a data set yields: images, labels and maybe sample weights.
        logits: The student's symbolic logits.
        supervision: `Supervision` of the compiled loss.

    Returns:
        Dict with the keys `"x"`, `"y"`, `"sample_weight"`, `"labelled"`, `"valid"` and
        those of `KEYS` that the data set yields; and the replica's `ReplicaBatch`.

    Raises:
        ValueError: for images, labels or weights that do not fit; what is known in the
            step alone raises a `tf.errors.InvalidArgumentError` there.
    """
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    check_single(x=x, y=y, sample_weight=sample_weight)
    images, others = images_and_keys(x)
    batch = {"x": images, "y": y, "sample_weight": sample_weight, **others}
    check_like_images(batch)
    given = {key: value for key, value in batch.items() if value is not None}
    replica = batch_of_replica([*given.values()])
    batch |= zip(given, replica.tensors, strict=True)
    checks = supervision.check_labels(batch["y"], logits) + check_counts(batch)
    with tf.control_dependencies(checks):
        batch |= {key: tf.identity(batch[key]) for key in ("x", "y")}
    batch["labelled"] = supervision.labelled(batch["y"], logits)
    batch["valid"] = batch["labelled"] if is_dense(logits) else None
    return batch, replica


def images_and_keys(x):
    """The images that a user gave, and a dict of what stands beside them.

    Raises:
        ValueError: for a dict without images, or with other keys.
    """
    if not isinstance(x, dict):
        return x, {}
    if "image" not in x or set(x) - {"image", *KEYS}:
        raise ValueError(
            'Expected images, or a dict with the key "image" and at most '
            f"{', '.join(map(repr, KEYS))} beside it; a student has one input, and "
            "would not see others. Take them out with `dataset.map(...)`. Received: a "
            f"dict with keys {sorted(x)}"
        )
    return x["image"], {key: value for key, value in x.items() if key != "image"}


def check_like_images(batch):
    """Refuses partners and views of another size than the images."""
    for key in ("pair", "view"):
        if key not in batch:
            continue
        sizes = [tuple(batch[name].shape[1:]) for name in ("x", key)]
        if not tf.TensorShape(sizes[0]).is_compatible_with(sizes[1]):
            raise ValueError(
                f"Expected {key!r} to be images of the size of those beside it, "
                f"{sizes[0]}. Received: {sizes[1]}"
            )


def check_needs(method, batch):
    """Refuses batches without what a method needs beside the images."""
    missing = [key for key in method.needs if key not in batch]
    if missing:
        remedies = " and ".join(KEYS[key] for key in missing)
        raise ValueError(
            f"{type(method).__name__} needs {', '.join(map(repr, missing))} beside the "
            f"images: {remedies} yields it. Received: images with "
            f"{sorted(key for key in KEYS if key in batch)}"
        )


def check_counts(batch):
    """Checks that there is as much of everything as images.

    Returns:
        List of assertions that the step's forward pass must wait for.

    Raises:
        ValueError: if the numbers are known and differ.
    """
    given = [name for name in batch if getattr(batch[name], "shape", ())]
    message = f"Expected as many of each in a batch. Received: {', '.join(given)} = "
    known = [batch[name].shape[0] for name in given]
    if None not in known:
        if len(set(known)) > 1:
            raise ValueError(f"{message}{known}")
        return []
    counts = tf.stack([tf.shape(batch[name])[0] for name in given])
    equal = tf.reduce_all(counts == counts[0])
    return [tf.debugging.Assert(equal, [message, counts])]
