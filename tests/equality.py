"""Training under a condition, to compare one device with several.

    TF_CONFIG=... python -m tests.equality FILE [few]

trains every method under every condition as one of several workers, and saves weights
and losses in FILE; with `few` the fast methods, under few conditions.
"""

import math
import sys
from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from keras_selfkd import ExampleMemory, SelfDistillationModel
from keras_selfkd.distributed.strategies import strategy_by_name
from tests import memory, toys
from tests.methods.cases import CASES, EXACT, inputs_for
from tests.processes.workers import run_graphs_as_written


def sgd(learning_rate=0.01, **options):
    return lambda: keras.optimizers.SGD(learning_rate, momentum=0.9, **options)


# A sum over a batch of 8 takes steps eight times as large.
SMALL = 0.001


class Condition(NamedTuple):
    """What differs from SGD with momentum on three full batches of 8 examples."""

    optimizer: Callable = sgd()
    examples: int = 24
    reduction: str = "sum_over_batch_size"
    weighted: bool = False
    regularizer: str | None = None
    void: bool = False


CONDITIONS = {
    "momentum": Condition(),
    "sample weights": Condition(weighted=True),
    "regularisers": Condition(regularizer="l2"),
    "loss summed, not averaged": Condition(sgd(SMALL), reduction="sum"),
    "mean over sample weights": Condition(
        weighted=True, reduction="mean_with_sample_weight"
    ),
    "ignore_class, most void on one replica": Condition(void=True),
    "ignore_class and sample weights": Condition(void=True, weighted=True),
    "uneven last batch": Condition(examples=21),
    "an empty replica (last batch of 1)": Condition(examples=17),
    "loss summed, an empty replica": Condition(
        sgd(SMALL), examples=17, reduction="sum"
    ),
    "weighted and regularised, an empty replica": Condition(
        examples=17, weighted=True, regularizer="l2"
    ),
    "gradient accumulation": Condition(sgd(gradient_accumulation_steps=2)),
    "global_clipnorm": Condition(sgd(global_clipnorm=0.1)),
    "clipnorm": Condition(sgd(clipnorm=0.05)),
    "clipvalue": Condition(sgd(clipvalue=0.01)),
    "accumulation and clipping": Condition(
        sgd(gradient_accumulation_steps=2, global_clipnorm=0.1)
    ),
    "Nadam": Condition(lambda: keras.optimizers.Nadam(0.001)),
    "Muon": Condition(
        lambda: keras.optimizers.Muon(0.01, weight_decay=None, adam_weight_decay=0.5)
    ),
    "AdamW": Condition(lambda: keras.optimizers.AdamW(0.001, weight_decay=0.1)),
    "weights, regularisers, accumulation, clipping": Condition(
        sgd(gradient_accumulation_steps=3, global_clipnorm=0.1),
        examples=17,
        weighted=True,
        regularizer="l2",
    ),
    "averaged weights": Condition(
        sgd(use_ema=True, ema_momentum=0.5, ema_overwrite_frequency=2)
    ),
}


FEW = ("weights, regularisers, accumulation, clipping",)
# What that does not combine. An optimizer does not ask where a gradient comes from, so
# that plain training, which is traced soonest, goes through them.
MORE = {
    "frskd": (
        "loss summed, an empty replica",
        "mean over sample weights",
        "ignore_class and sample weights",
        "uneven last batch",
    ),
    "plain": (
        "clipnorm",
        "clipvalue",
        "Nadam",
        "Muon",
        "AdamW",
        "averaged weights",
    ),
}


def batches(method, condition):
    """Two epochs, each in an order of its own, as one data set.

    Shuffled by hand: the first half of each batch is a replica's part of it. A memory
    that each replica fills alone gives itself away in the second epoch.
    """
    images, labels = (toys.pixel_data if condition.void else toys.class_data)(24)
    if condition.void:
        labels[np.arange(24) % 8 < 4, 2:] = toys.CLASSES
    data = (inputs_for(method, images), labels)
    if condition.weighted:
        data += (np.random.default_rng(0).random(24).astype("float32"),)
    first = np.arange(condition.examples)
    second = np.random.default_rng(1).permutation(first)
    every = tf.data.Dataset.from_tensor_slices(np.stack([first, second]))
    both = every.flat_map(
        lambda order: tf.data.Dataset.from_tensor_slices(
            tf.nest.map_structure(lambda values: tf.gather(values, order), data)
        ).batch(8)
    )
    count = 2 * math.ceil(condition.examples / 8)
    return both.apply(tf.data.experimental.assert_cardinality(count))


def train(method, condition, strategy, epochs=1):
    """Weights and logs of a training; the student has no BatchNorm."""
    condition = CONDITIONS[condition]
    memory.clear_session()
    keras.utils.set_random_seed(1)
    create = toys.segmenter if condition.void else toys.classifier
    ignore = {"ignore_class": toys.CLASSES} if condition.void else {}
    with strategy.scope():
        student = create(
            batch_norm=False,
            regularizer=condition.regularizer,
            stages=toys.FEW_STAGES,
        )
        model = SelfDistillationModel(student, CASES[method].method(condition.void))
        loss = toys.cross_entropy(reduction=condition.reduction, **ignore)
        model.compile(condition.optimizer(), loss)
    data = batches(model.method, condition)
    fit = model.fit(data, epochs=epochs, shuffle=False, verbose=0)
    weights = {v.path: v.numpy() for v in [*model.trainable_variables, *kept(model)]}
    return weights, {name: values[0] for name, values in fit.history.items()}


def kept(model):
    """What methods remember, which is no weight that is trained."""
    layers = model.method._flatten_layers(include_self=False)
    memories = [one for one in layers if isinstance(one, ExampleMemory)]
    return [memory.rows for memory in memories]


def difference(one, other):
    """The largest difference of two trainings' weights."""
    assert one.keys() == other.keys()
    return max(np.max(np.abs(one[path] - other[path])) for path in one)


def cases(few=False):
    """Pairs of a method and a condition: all, or `FEW` and what stands in `MORE`."""
    return [
        (method, condition)
        for method in EXACT
        for condition in CONDITIONS
        if not few or condition in (*FEW, *MORE.get(method, ()))
        if CASES[method].dense or not CONDITIONS[condition].void
    ]


def cases_of_workers():
    """What a method adds on workers to what it does on replicas is its memory.

    And what workers add to replicas in one process lies in how a batch is shared.
    """
    return [case for case in cases(few=True) if CASES[case[0]].fast and case[1] in FEW]


def save(path, results):
    """Writes a dict from method and condition to weights and losses."""
    arrays = {
        f"{method}|{condition}|{name}": value
        for (method, condition), found in results.items()
        for name, value in found.items()
    }
    np.savez(path, **arrays)


def load(path):
    """The dict that `save` was given."""
    found = {}
    with np.load(path) as arrays:
        for key, value in arrays.items():
            method, condition, name = key.split("|")
            found.setdefault((method, condition), {})[name] = value
    return found


def main(path, few=""):
    run_graphs_as_written()
    strategy = strategy_by_name("multi_worker")
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    results = {}
    for case in cases_of_workers() if few else cases():
        weights, losses = train(*case, strategy)
        results[case] = weights | losses
    save(path, results)


if __name__ == "__main__":
    main(*sys.argv[1:])
