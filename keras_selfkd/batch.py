"""A user's batch as the dict that a method gets."""

import tensorflow as tf

# What a data set may yield beside its images: `{"image": images, "index": ...}`.
KEYS = ("index", "pair", "view")


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


def check_counts(batch):
    """Checks that there are as many labels and sample weights as images.

    Returns:
        List of assertions that the step's forward pass must wait for.

    Raises:
        ValueError: if the numbers are known and differ.
    """
    names = ("x", "y", "sample_weight")
    given = [name for name in names if getattr(batch[name], "shape", ())]
    message = f"Expected as many of each in a batch. Received: {', '.join(given)} = "
    known = [batch[name].shape[0] for name in given]
    if None not in known:
        if len(set(known)) > 1:
            raise ValueError(f"{message}{known}")
        return []
    counts = tf.stack([tf.shape(batch[name])[0] for name in given])
    equal = tf.reduce_all(counts == counts[0])
    return [tf.debugging.Assert(equal, [message, counts])]
