import functools

import numpy as np
import pytest
import tensorflow as tf

from examples.data import batches
from examples.data.augmentation import random_crops
from examples.data.splits import Split

COUNT, BATCH, STEPS = 26, 8, 3


def arrays():
    """Returns images that carry their number in every pixel."""
    images = np.zeros((COUNT, 8, 8, 1), "uint8")
    images += np.arange(1, COUNT + 1, dtype="uint8")[:, None, None, None]
    return images, np.arange(COUNT, dtype="int32")


def split(buffer=COUNT):
    records = tf.data.Dataset.from_tensor_slices(arrays())
    return Split(records, lambda image: image, COUNT, buffer)


def from_memory(seed=0, augment=False, mirror=False):
    crops = functools.partial(random_crops, mirror=mirror) if augment else None
    options = {"batch_size": BATCH, "augment": crops}
    return batches.training_from_memory(*arrays(), seed=seed, **options)


def streamed(seed=0, augment=False, mirror=False, buffer=COUNT):
    options = {"batch_size": BATCH, "augment": augment, "mirror": mirror}
    return batches.training_streamed(split(buffer), (8, 8, 1), seed=seed, **options)


def take(dataset, count):
    return [(images.numpy(), labels.numpy()) for images, labels in dataset.take(count)]


def assert_same(some, others):
    for (images, labels), (other_images, other_labels) in zip(
        some, others, strict=True
    ):
        np.testing.assert_array_equal(labels, other_labels)
        np.testing.assert_array_equal(images, other_images)


both = pytest.mark.parametrize("training", [from_memory, streamed])


@both
def test_images_keep_their_labels(training):
    for images, labels in take(training()(), 2 * STEPS):
        assert images.shape == (BATCH, 8, 8, 1)
        expected = np.broadcast_to(labels[:, None, None, None] + 1, images.shape)
        np.testing.assert_array_equal(images, expected)


@both
def test_an_epoch_shows_no_image_twice_and_epochs_differ(training):
    labels = np.concatenate([labels for _, labels in take(training()(), 3 * STEPS)])
    epochs = labels.reshape(3, STEPS * BATCH)
    for epoch in epochs:
        assert len(set(epoch)) == STEPS * BATCH
    assert not np.array_equal(epochs[0], epochs[1])
    # Images that didn't fit into one epoch's batches are seen in others.
    assert set(epochs.ravel()) == set(range(COUNT))


@both
def test_a_later_first_epoch_is_what_an_uninterrupted_run_sees(training):
    train = training(augment=True, mirror=True)
    whole = take(train(), 4 * STEPS)
    assert_same(whole[2 * STEPS :], take(train(2), 2 * STEPS))


@both
def test_the_seed_decides_order_and_augmentation(training):
    first = take(training(seed=5, augment=True)(), STEPS)
    # Neither the global seed nor an earlier pass has a say.
    tf.random.set_seed(99)
    assert_same(first, take(training(seed=5, augment=True)(), STEPS))
    other = take(training(seed=6, augment=True)(), STEPS)
    assert not np.array_equal(first[0][1], other[0][1])


@both
def test_augmentation_leaves_the_order_alone(training):
    plain, augmented = take(training()(), 4), take(training(augment=True)(), 4)
    for (_, labels), (_, same_labels) in zip(plain, augmented, strict=True):
        np.testing.assert_array_equal(labels, same_labels)


@both
@pytest.mark.parametrize("replicas", [2, 4])
def test_workers_share_the_batches_of_one_process(training, replicas):
    """Two workers with one or two replicas each; augmentation is the same, too."""
    train = training(augment=True)
    size = BATCH // replicas
    parts = [
        take(
            train(1, tf.distribute.InputContext(2, worker, replicas)).batch(
                replicas // 2
            ),
            STEPS + 1,
        )
        for worker in range(2)
    ]
    for (images, labels), *own in zip(take(train(1), STEPS + 1), *parts, strict=True):
        shared = np.concatenate([part[1].ravel() for part in own])
        assert all(part[1].shape == (replicas // 2, size) for part in own)
        assert sorted(shared) == sorted(labels)
        shared_images = np.concatenate([p[0].reshape(-1, 8, 8, 1) for p in own])
        order, shared_order = np.argsort(labels), np.argsort(shared)
        np.testing.assert_array_equal(shared_images[shared_order], images[order])


@both
@pytest.mark.parametrize("context", [None, tf.distribute.InputContext(2, 1, 2)])
def test_an_index_is_the_images_number_and_changes_nothing_else(training, context):
    train = training(augment=True)
    numbered = batches.normalised(train(1, context, index=True), 0.0, 1.0)
    plain = batches.normalised(train(1, context), 0.0, 1.0)
    for (x, labels), (images, same) in zip(numbered.take(5), plain, strict=False):
        np.testing.assert_array_equal(x["index"], labels)
        np.testing.assert_array_equal(labels, same)
        np.testing.assert_array_equal(x["image"], images)


def test_error_batches_that_replicas_cannot_share():
    context = tf.distribute.InputContext(3, 0, 3)
    with pytest.raises(ValueError, match=r"8 is not divisible by .* 3"):
        from_memory()(0, context)


def test_crops_come_from_the_padded_image():
    # Padding of 1 (an eighth of 8): a black border of at most one row and column.
    images = np.concatenate([x for x, _ in take(from_memory(augment=True)(), 9)])[
        ..., 0
    ]
    inside = images[:, 1:-1, 1:-1]
    assert np.all(inside == inside[:, :1, :1])
    borders = np.stack(
        [images[:, 0, 4], images[:, -1, 4], images[:, 4, 0], images[:, 4, -1]], axis=1
    )
    black = borders == 0
    assert not np.any(black[:, 0] & black[:, 1])
    assert not np.any(black[:, 2] & black[:, 3])
    np.testing.assert_allclose(black.mean(axis=0), 1 / 3, atol=0.12)


def test_every_batch_gets_its_own_crops():
    zero = np.zeros((COUNT, 8, 8, 1), "uint8") + np.arange(8, dtype="uint8")[:, None]
    crops = functools.partial(random_crops, mirror=False)
    options = {"batch_size": BATCH, "seed": 0, "augment": crops}
    train = batches.training_from_memory(zero, np.zeros(COUNT, "int32"), **options)
    first, second, *_, next_epoch = [images for images, _ in take(train(), STEPS + 1)]
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, next_epoch)


def test_streamed_shuffles_within_its_buffer():
    (_, labels), *_ = take(streamed(buffer=BATCH)(), 1)
    assert sorted(labels) == list(range(BATCH))
    assert labels.tolist() != list(range(BATCH))


def test_evaluation_is_in_order_with_a_partial_last_batch():
    images, labels = arrays()
    memory = batches.evaluation_from_memory(images, labels, batch_size=BATCH)
    stream = batches.evaluation_streamed(split(), (8, 8, 1), batch_size=BATCH)
    assert [len(y) for _, y in memory] == [8, 8, 8, 2]
    assert_same(take(memory, 9), take(stream, 9))
    seen = np.concatenate([x for x, _ in take(memory, 9)])
    np.testing.assert_array_equal(seen, images)
    assert len(memory) == 4


def test_pixel_statistics_restated_in_numpy():
    images = np.random.default_rng(0).integers(0, 256, (9, 5, 4, 3), "uint8")
    images[..., 1] //= 3
    mean, std = batches.pixel_statistics(images)
    np.testing.assert_allclose(mean, images.mean((0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(std, images.std((0, 1, 2)), rtol=1e-6)


def test_a_constant_channel_is_not_divided_by_zero():
    mean, std = batches.pixel_statistics(np.full((2, 3, 3, 1), 7, "uint8"))
    assert (mean.tolist(), std.tolist()) == ([7.0], [1.0])


def test_normalised_by_hand():
    images = tf.constant([[[[10, 20]]]], tf.uint8)
    dataset = tf.data.Dataset.from_tensors((images, tf.constant([3])))
    mean, std = np.array([5.0, 30.0], "float32"), np.array([2.0, 4.0], "float32")
    ((result, labels),) = batches.normalised(dataset, mean, std)
    np.testing.assert_array_equal(result, [[[[2.5, -2.5]]]])
    assert (result.dtype, labels.numpy().tolist()) == (tf.float32, [3])
