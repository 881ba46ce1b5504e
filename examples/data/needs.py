"""Training batches with what methods need beside the images, made of plain ones."""

import tensorflow as tf

from keras_selfkd.batch import images_and_keys


def training_with(train, count, batch_size, augmented):
    """Adds to batches what the data must yield for methods that need it.

    Args:
        train: Function as `batches.training_from_memory` returns it.
        count: Number of training images.
        batch_size: Number of images of a batch.
        augmented: Whether the images are augmented.

    Returns:
        Function `train(first_epoch=0, context=None, needs=())` of batches `({"image":
        images, ...}, labels)`, plain images without needs: `"index"`, the images'
        numbers; `"pair"`, another image of the class of each, which also stands beside
        it; `"view"`, the images augmented otherwise; `"previous"`, where each stood in
        the last batch, whose second half comes again, -1 where it did not.

    Raises (the function):
        ValueError: for views of images that are not augmented, and for an odd batch
            that should be cut in halves.
    """

    def training(first_epoch=0, context=None, needs=()):
        if "view" in needs and not augmented:
            raise ValueError(
                "Two views of an image differ by its augmentation. Expected --augment. "
                "Received: --noaugment"
            )
        if "previous" in needs:
            return _overlapping(train, count, batch_size, first_epoch, context)
        if "pair" in needs:
            _check_halves(batch_size, context, "pairs")
        options = {"index": "index" in needs, "class_mates": "pair" in needs}
        batches = train(first_epoch, context, **options)
        if "pair" in needs:
            batches = batches.map(_with_partners)
        if "view" in needs:
            others = train(first_epoch, context, draw=1, **options)
            batches = tf.data.Dataset.zip(batches, others).map(_with_views)
        return batches

    return training


def _check_halves(batch_size, context, what):
    replicas = context.num_replicas_in_sync if context else 1
    if batch_size % (2 * replicas):
        raise ValueError(
            f"Every replica's part of a batch holds {what}. Expected a multiple of "
            f"{2 * replicas}. Received: --batch_size={batch_size}"
        )


def _with_views(batch, other):
    (x, labels), (views, _) = batch, other
    images, beside = images_and_keys(x)
    views, _ = images_and_keys(views)
    return {"image": images, **beside, "view": views}, labels


def _with_partners(x, labels):
    images, beside = images_and_keys(x)
    partners = _of_partners(images, labels)
    return {"image": images, **beside, "pair": partners}, labels


def _of_partners(images, labels):
    """For each image the one beside it, where that is of its class, else its own."""
    count = tf.size(labels)
    own = tf.range(count)
    beside = tf.minimum(tf.bitwise.bitwise_xor(own, 1), count - 1)
    partners = tf.gather(labels, beside) == labels
    return tf.gather(images, tf.where(partners, beside, own))


def _overlapping(train, count, batch_size, first_epoch, context):
    """Batches of two halves, of which the first is the last one's second, drawn anew.

    An epoch has as many batches as without, and so half as many new images.
    """
    _check_halves(batch_size, context, "half of the last one")
    replicas = context.num_replicas_in_sync if context else 1
    half = batch_size // 2
    done = first_epoch * (count // batch_size)  # Batches, and so halves.
    passes, within = divmod(done, count // half)
    mine = replicas // context.num_input_pipelines if context else 1

    def halves(skipped, draw):
        options = {"draw": draw, "size": half}
        return train(passes, context, **options).skip((within + skipped) * mine)

    each = half // replicas
    first = context.input_pipeline_id * mine if context else 0

    def join(number, again, now):
        images, labels = (tf.concat(both, 0) for both in zip(again, now, strict=True))
        replica = first + number % mine
        place = 2 * each * replica + each + tf.range(each, dtype=tf.int64)
        new = tf.fill([each], tf.constant(-1, tf.int64))
        known = number + done * mine >= mine  # There is no batch before the first.
        previous = tf.concat([tf.where(known, place, new), new], 0)
        return {"image": images, "previous": previous}, labels

    both = tf.data.Dataset.zip(halves(0, 1), halves(1, 0))
    return both.enumerate().map(lambda number, both: join(number, *both))
