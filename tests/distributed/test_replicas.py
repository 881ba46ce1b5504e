import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_selfkd.distributed import replicas
from tests.replica_values import local, run


def test_sum_over_replicas(two_replicas):
    def step():
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        return replicas.sum_over_replicas(replica + 1)

    assert run(two_replicas, step) == [[3], [3]]
    assert int(replicas.sum_over_replicas(tf.constant(5))) == 5


@pytest.mark.parametrize(
    ("parts", "shares", "reported", "copies"),
    [
        (([1, 2, 3], [4]), ([1, 2, 3], [4]), (3, 1), 1),
        (([1, 2, 3], []), ([1, 2, 3], [1, 2, 3]), (3, 0), 2),
    ],
)
def test_a_replica_without_examples_takes_the_whole_batch(
    two_replicas, parts, shares, reported, copies
):
    @tf.function(input_signature=[tf.TensorSpec([None]), tf.TensorSpec([None])])
    def both(first, second):
        def step(values):
            share = replicas.batch_of_replica([values, 10 * values])
            return share.tensors, share.reported, share.copies

        def part(context):
            return tf.cond(
                tf.equal(context.replica_id_in_sync_group, 0),
                lambda: first,
                lambda: second,
            )

        def replica():
            return step(part(tf.distribute.get_replica_context()))

        return two_replicas.run(replica)

    (ones, tens), counts, same = both(*(tf.constant(p, tf.float32) for p in parts))
    for values, tenfold, expected in zip(
        local(two_replicas, ones), local(two_replicas, tens), shares, strict=True
    ):
        np.testing.assert_array_equal(values, expected)
        np.testing.assert_array_equal(tenfold, 10 * values)
    assert tuple(local(two_replicas, counts)) == reported
    assert local(two_replicas, same) == [copies, copies]


def test_random_numbers_differ_between_replicas_and_not_between_runs(two_replicas):
    with two_replicas.scope():
        dropout = keras.layers.Dropout(0.5, seed=7)
    state = dropout.seed_generator.state

    def step():
        with replicas.seeds_of_this_replica([state]):
            return dropout(tf.ones((64,)), training=True)

    first, second = run(two_replicas, step)
    assert np.any(first[0] != second[0])
    assert [list(value) for value in local(two_replicas, state.value)] == [[7, 1]] * 2
    state.assign([7, 0])
    again = run(two_replicas, step)
    np.testing.assert_array_equal(again, [first, second])
