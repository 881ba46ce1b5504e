import itertools

import numpy as np
import pytest
import tensorflow as tf

from examples.data.needs import training_with
from tests.examples.data import test_batches as plain

COUNT, BATCH, STEPS = plain.COUNT, plain.BATCH, plain.STEPS
CLASSES = 3
both = pytest.mark.parametrize("training", [plain.from_memory, plain.streamed])


@pytest.fixture(autouse=True)
def few_classes(monkeypatch):
    """Images carry their number in every pixel; their class is its remainder."""
    images, numbers = plain.arrays()
    images[:, ::2] = 0  # So that crops tell apart; its brightest is its number.
    labels = (numbers % CLASSES).astype("int32")
    monkeypatch.setattr(plain, "arrays", lambda: (images, labels))


def take(training, count, *position, needs, augment=False):
    train = training_with(training(augment=augment), COUNT, BATCH, augment)
    return [
        ({name: value.numpy() for name, value in x.items()}, labels.numpy())
        for x, labels in train(*position, needs=needs).take(count)
    ]


def numbers(images):
    """The number that an image carries, crops or not."""
    return images.reshape(len(images), -1).max(-1).astype(int) - 1


@both
def test_partners_are_of_the_same_class_and_beside_each_other(training):
    others = 0
    for x, labels in take(training, 2 * STEPS, needs=("pair",)):
        own, partners = numbers(x["image"]), numbers(x["pair"])
        np.testing.assert_array_equal(own % CLASSES, labels)
        np.testing.assert_array_equal(partners % CLASSES, labels)
        beside = own.reshape(-1, 2)[:, ::-1].ravel()
        alone = partners == own
        np.testing.assert_array_equal(partners[~alone], beside[~alone])
        others += np.sum(~alone)
    # Of 24 images an epoch at most one of each class is left over.
    assert others >= 2 * (STEPS * BATCH - CLASSES)


@both
def test_an_epoch_in_pairs_shows_no_image_twice(training):
    batches = take(training, STEPS, needs=("pair",))
    seen = np.concatenate([numbers(x["image"]) for x, _ in batches])
    assert len({*seen}) == STEPS * BATCH


@both
def test_a_view_is_the_same_image_drawn_otherwise(training):
    batches = take(training, STEPS, needs=("view",), augment=True)
    for x, labels in batches:
        assert x["image"].shape == x["view"].shape
        if training is plain.from_memory:  # The other resizes, which blurs numbers.
            np.testing.assert_array_equal(numbers(x["image"]) % CLASSES, labels)
            np.testing.assert_array_equal(numbers(x["view"]) % CLASSES, labels)
    assert any(np.any(x["image"] != x["view"]) for x, _ in batches)


@both
def test_the_first_half_is_the_last_ones_second(training):
    batches = take(training, 4 * STEPS, needs=("previous",))
    half = BATCH // 2
    assert np.all(batches[0][0]["previous"] == -1)
    for (last, _), (x, labels) in itertools.pairwise(batches):
        own = numbers(x["image"])
        np.testing.assert_array_equal(own % CLASSES, labels)
        np.testing.assert_array_equal(own[:half], numbers(last["image"])[half:])
        np.testing.assert_array_equal(x["previous"][:half], np.arange(half, BATCH))
        np.testing.assert_array_equal(x["previous"][half:], np.full(half, -1))
    new = np.concatenate([numbers(x["image"])[half:] for x, _ in batches])
    once = (COUNT // half - 1) * half
    assert len({*new[:once]}) == once


@both
@pytest.mark.parametrize("needs", [("pair",), ("view",), ("previous",)])
def test_a_later_first_epoch_is_what_an_uninterrupted_run_sees(training, needs):
    whole = take(training, 4 * STEPS, needs=needs, augment=True)
    for first in (1, 2, 3):
        resumed = take(training, STEPS, first, needs=needs, augment=True)
        for (x, labels), (same_x, same) in zip(
            whole[first * STEPS :], resumed, strict=False
        ):
            np.testing.assert_array_equal(labels, same)
            for name, values in x.items():
                np.testing.assert_array_equal(values, same_x[name], err_msg=name)


@both
@pytest.mark.parametrize("replicas", [2, 4])
def test_workers_know_where_an_image_stood_in_the_batch_of_all(training, replicas):
    """Two workers of one or two replicas, whose parts follow each other."""
    each = replicas // 2

    def parts(worker):
        context = tf.distribute.InputContext(2, worker, replicas)
        return take(training, 3 * each, 1, context, needs=("previous",))

    own = [parts(worker) for worker in range(2)]

    def whole(step, name):
        steps = slice(step * each, (step + 1) * each)
        return np.concatenate([x[name] for worker in own for x, _ in worker[steps]])

    for step in (1, 2):
        last, now = (numbers(whole(s, "image")) for s in (step - 1, step))
        previous = whole(step, "previous")
        known = previous >= 0
        assert np.sum(known) == BATCH // 2
        np.testing.assert_array_equal(last[previous[known]], now[known])


def test_error_views_without_augmentation():
    with pytest.raises(ValueError, match="Expected --augment"):
        take(plain.from_memory, 1, needs=("view",))


@pytest.mark.parametrize("need", ["previous", "pair"])
def test_error_halves_that_replicas_cannot_share(need):
    context = tf.distribute.InputContext(2, 0, 8)
    with pytest.raises(ValueError, match=r"multiple of 16.*--batch_size=8"):
        take(plain.from_memory, 1, 0, context, needs=(need,))
