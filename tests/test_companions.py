import collections

import numpy as np
import pytest
import tensorflow as tf

from keras_selfkd import overlapping, pairs_by_class, with_index
from tests import toys


def examples(count=8, weights=False):
    images, labels = toys.class_data(count)
    data = (images, labels, np.ones(count)) if weights else (images, labels)
    return tf.data.Dataset.from_tensor_slices(data)


@pytest.mark.parametrize("weights", [False, True])
def test_an_image_keeps_its_index_when_shuffled(weights):
    images, labels = toys.class_data(8)
    for x, label, *rest in with_index(examples(weights=weights)).shuffle(8):
        np.testing.assert_array_equal(x["image"], images[int(x["index"])])
        assert label == labels[int(x["index"])]
        assert len(rest) == weights


def test_pairs_are_of_one_class_and_every_image_comes_once():
    images, labels = toys.class_data(16)
    found = {
        image.tobytes(): label for image, label in zip(images, labels, strict=True)
    }
    seen = collections.Counter()
    for x, label in pairs_by_class(examples(16).shuffle(16, seed=1)):
        one, other = x["image"].numpy(), x["pair"].numpy()
        assert found[one.tobytes()] == found[other.tobytes()] == label
        assert not np.array_equal(one, other)
        seen[one.tobytes()] += 1
    assert seen == dict.fromkeys(found, 1)


def test_pairs_are_new_in_each_pass():
    pairs = pairs_by_class(examples(16).shuffle(16, seed=1))
    assert int(pairs.cardinality()) == 16
    assert int(pairs_by_class(examples(16).repeat()).cardinality()) < 0
    one, other = (
        {(x["image"].numpy().tobytes(), x["pair"].numpy().tobytes()) for x, _ in pairs}
        for _ in range(2)
    )
    assert one != other


def test_what_else_stands_beside_images_is_kept():
    for x, _ in pairs_by_class(with_index(examples(16))):
        assert sorted(x) == ["image", "index", "pair"]
    for x, _ in overlapping(with_index(examples()), batch_size=4):
        assert sorted(x) == ["image", "index", "previous"]


def test_batches_overlap_by_half_also_across_the_end():
    batches = overlapping(with_index(examples(6)).repeat(2), batch_size=4)
    before = None
    for x, labels in batches:
        index, previous = x["index"].numpy(), x["previous"].numpy()
        again = previous >= 0
        assert again.tolist() == [before is not None] * 2 + [False] * 2
        if before is not None:
            np.testing.assert_array_equal(index[again], before[previous[again]])
        np.testing.assert_array_equal(labels, index % toys.CLASSES)
        before = index
    assert index.tolist() == [2, 3, 4, 5]


@pytest.mark.parametrize(
    "use", [with_index, pairs_by_class, lambda data: overlapping(data, 4)]
)
def test_error_batches(use):
    with pytest.raises(ValueError, match=r"single examples .*before `batch`"):
        use(examples().batch(2))
    with pytest.raises(ValueError, match="single examples"):
        use(examples().map(lambda image, label: image))


def test_error_labels_and_sizes():
    one_hot = examples().map(lambda image, label: (image, tf.one_hot(label, 4)))
    with pytest.raises(ValueError, match="Expected integer labels"):
        pairs_by_class(one_hot)
    with pytest.raises(ValueError, match=r"even batch_size\. Received: 3"):
        overlapping(examples(), 3)
