"""The students that train every case of the contract, and one training to look at."""

from typing import Any, NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_selfkd import SelfDistillationModel
from keras_selfkd.supervision import Supervision
from tests import memory, toys
from tests.methods.batches import terms_of
from tests.methods.cases import CASES, inputs_for


@keras.saving.register_keras_serializable(package="tests")
class CountCalls(keras.layers.Layer):
    def build(self, input_shape):
        self.count = self.add_weight(shape=(), trainable=False, initializer="zeros")

    def call(self, inputs):
        self.count.assign_add(1.0)
        return inputs


def counting_classifier(**options):
    images = keras.Input((16, 16, 3))
    x = toys.body(CountCalls(name="counter")(images), **options)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(images, keras.layers.Dense(toys.CLASSES)(x))


STUDENTS = {
    "class": (toys.classifier, toys.class_data),
    "pixel": (toys.segmenter, toys.pixel_data),
    "nested": (toys.nested_classifier, toys.class_data),
    "counting": (counting_classifier, toys.class_data),
}


def slow_if(condition):
    return pytest.mark.slow if condition else ()


def students(*every, also=(), slow=False, again=True):
    """Cases with students that they take.

    Args:
        *every: Names of students that train every case; in the slow suite, but for
            the cases that are fast.
        also: Names of students that train the fast cases alone, in the slow suite:
            what differs there between methods is not what the test is about.
        slow: Boolean, whether all of them belong to the slow suite.
        again: Boolean, whether methods of other rows train with other arguments, too,
            and not only where something is drawn.
    """
    return [
        pytest.param(
            (case, student),
            id=f"{name}-{student}",
            marks=slow_if(slow or not case.fast or student in also),
        )
        for name, case in CASES.items()
        if again or case.per_replica or not case.variant
        for student in (*every, *also)
        if case.takes(student) and (case.fast or student in every)
    ]


def build(of, optimizer=None, compile_options=None, **options):
    case, student = of
    create, data = STUDENTS[student]
    student_model = create(stages=toys.FEW_STAGES, **options)
    model = SelfDistillationModel(student_model, case.method(student == "pixel"))
    model.compile(
        # Adam takes twice as long to trace.
        optimizer or keras.optimizers.SGD(0.05),
        toys.cross_entropy(),
        metrics=["accuracy"],
        **(compile_options or {}),
    )
    images, labels = data()
    return model, (inputs_for(model.method, images), labels)


def rows(data, which):
    """Some rows of images and labels, of all that stands beside the images, too."""
    return tf.nest.map_structure(lambda values: values[which], data)


def mean_terms(model, images, labels):
    _, terms = terms_of(model, images, labels, Supervision(model.loss))
    return {name: tf.reduce_mean(term) for name, term in terms.items()}


# Repeats of the batch in an epoch: Keras takes longer for an epoch than for a step.
STEPS = 5


class Trained(NamedTuple):
    """A training, and the terms of its first step with their gradients.

    Gradients are dicts from term to a list: of all trainable weights, and of what the
    case says that the term must not train.
    """

    model: Any
    data: tuple
    terms: dict
    gradients: dict
    stopped: dict
    history: dict

    def fit(self, labels, sample_weight):
        """Trains on, in the function that is already traced."""
        options = {"batch_size": 16, "epochs": 1, "shuffle": False, "verbose": 0}
        return self.model.fit(
            self.data[0], labels, sample_weight=sample_weight, **options
        ).history


def train(of):
    """Trains a case and a student once, for all tests that look at it."""
    memory.clear_session()
    keras.utils.set_random_seed(0)
    case, _ = of
    model, data = build(of)
    model.method.begin_epoch(0, 1)  # As `fit` does.
    case.begin(model)
    weights, teacher = model.trainable_weights, case.teacher(model)
    with tf.GradientTape(persistent=True) as tape:
        terms = mean_terms(model, *data)
    both = {n: tape.gradient(term, [*weights, *teacher]) for n, term in terms.items()}
    gradients = {name: found[: len(weights)] for name, found in both.items()}
    stopped = {name: both[name][len(weights) :] for name in case.stopped_terms}
    result = Trained(model, data, terms, gradients, stopped, {})
    options = {"batch_size": 16, "epochs": 8, "shuffle": False, "verbose": 0}
    images, labels = rows(data, np.tile(np.arange(16), STEPS))
    once = np.ones(16 * STEPS, "float32")
    history = model.fit(images, labels, sample_weight=once, **options).history
    result.history.update(history)
    return result
