"""Whether training is right about odd students, batches, losses and settings.

Right is: one finite step that changes weights; or an error that says what is wrong
before any weight has changed; or, where a loss is not finite, a logged NaN or infinity
and weights that are as they were. What must train, and what must be refused, is in
`expected`.
"""

import warnings
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from hypothesis import strategies as st

from keras_selfkd import SelfDistillationModel
from tests.odd_input import (
    METHODS,
    ODD,
    OF_PROBABILITIES,
    ORDINARY_LABELS,
    Case,
    batch_of,
    form_of,
    loss_of,
    method_of,
    student_of,
)


class Outcome(NamedTuple):
    """What came of it: `trained`, `skipped` or `refused`, and the error's text."""

    kind: str
    message: str = ""


def cases():
    """Hypothesis strategy of cases; most settings of each are ordinary."""

    def mostly(usual, others):
        return st.sampled_from([usual] * 7 * len(others) + [*others])

    side = st.integers(8, 33)
    channels = st.one_of(st.integers(1, 17), st.sampled_from([1, 31, 64, 257]))
    stages = mostly(2, [1]).flatmap(
        lambda n: st.lists(channels, min_size=n, max_size=8)
    )
    odd = {
        name: mostly(Case._field_defaults[name], values) for name, values in ODD.items()
    }
    # As often as the ordinary ones: their mistakes are silent.
    odd["loss"] = st.sampled_from(["sparse", "sparse", *ODD["loss"]])
    return st.builds(
        Case,
        method=st.sampled_from(METHODS),
        size=st.tuples(side, side, st.integers(1, 4)),
        stages=stages.map(tuple),
        dense=st.booleans(),
        classes=st.sampled_from([1, 2, 3, 10, 300, 1000]),
        images=st.sampled_from([1, 2, 3, 5]),
        seed=st.integers(0, 2**16),
        **odd,
    ).map(possible)


def possible(case):
    """The case, without what no user would put together."""
    if case.method == "FRSKD_SLA":  # It takes classes of square images only.
        case = case._replace(dense=False, size=(case.size[0], *case.size[::2]))
    if case.classes == 1 and "binary" not in case.loss:
        case = case._replace(loss="binary")
    if case.dense and case.kind == "sequential":
        case = case._replace(kind="functional")
    return case


def expected(case, labels):
    """The only right kind of outcome, or `None` where several are."""
    if case.loss in OF_PROBABILITIES or case.keys in ("y", "coordinate"):
        return "refused"
    if out_of_range(case, labels):
        return "refused"
    # Others refuse some students and losses, by their name and for a reason.
    any_student = case.method in ("Supervised", "FRSKD") and len(case.stages) > 1
    # What a class's number means as a share, and another shape, Keras decides.
    fits = case.labels in ORDINARY_LABELS and not (
        (case.labels == "soft" and form_of(case) == "integer")
        or (case.labels == "channel" and not (case.dense or case.classes == 1))
        or (case.labels == "channel" and form_of(case) == "bits" and case.classes > 1)
    )
    settings = case._replace(**{name: getattr(Case(), name) for name in UNRELATED})
    return "trained" if any_student and fits and settings == Case() else None


# Fields that an ordinary training may have otherwise.
UNRELATED = (
    "method",
    "kind",
    "size",
    "stages",
    "dense",
    "classes",
    "loss",
    "images",
    "keys",
    "labels",
    "seed",
)


def out_of_range(case, labels):
    """Whether labels are numbers that no class, or no share of one, can have."""
    if case.labels in ("strings", "wrong rank"):
        return False  # Refused or not: what they mean is not known.
    if form_of(case) == "integer":
        void = case.labels == "all void"
        return not void and (np.min(labels) < 0 or np.max(labels) > case.classes - 0.5)
    return np.min(labels) < 0 or np.max(labels) > 1


def values(model):
    return [v.numpy() for v in model.variables if "seed" not in v.path]


def outcome(case, eager=True):
    """Trains a step, and where it trains one on a partial batch; the first `Outcome`.

    Raises:
        AssertionError: if training is wrong about the case.
    """
    batch = batch_of(case)
    found = tried(case, batch, eager)
    right = expected(case, batch[1])
    assert right in (None, found.kind), f"Expected it {right}, but it was {found}"
    return found


def tried(case, batch, eager):
    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(case.seed)
    looked = student = student_of(case)
    before = values(student)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = SelfDistillationModel(student, method_of(case))
            model.compile(keras.optimizers.SGD(0.01), loss_of(case), run_eagerly=eager)
            looked, before = model, values(model)
            logs = model.train_on_batch(*batch, return_dict=True)
    except (ValueError, TypeError, tf.errors.InvalidArgumentError) as error:
        message = getattr(error, "message", str(error))
        assert is_ours(message), f"No message of ours: {message}"
        assert same(before, values(looked)), f"Refused too late: {message}"
        return Outcome("refused", message)
    first = judged(case, model, before, logs)
    if first.kind == "trained" and case.images > 1:
        before = values(model)
        partial = [part for part in batch if part is not None]
        partial = keras.tree.map_structure(lambda array: array[:1], partial)
        judged(case, model, before, model.train_on_batch(*partial, return_dict=True))
    return first


def is_ours(message):
    """Whether a refusal says what it expected, not what an operator met."""
    return "Received" in message and "Received a label value" not in message


def judged(case, model, before, logs):
    """The `Outcome` of a step that ran; one whose examples count changes a weight."""
    after = values(model)
    assert all(np.all(np.isfinite(value)) for value in after), f"Not finite: {logs}"
    if all(np.isfinite(value) for value in logs.values()):
        counts = case.sample_weight != "zeros" and case.labels != "all void"
        # A single logit of bytes may be right beyond its precision.
        counts = counts and (logs["loss"] > 0 or case.classes > 1)
        assert not (counts and same(before, after)), f"Nothing changed: {logs}"
        if case.sample_weight == "zeros":
            assert logs["loss"] == 0, f"Examples of weight 0 count: {logs}"
        return Outcome("trained")
    assert same(before, after), f"Changed by what is not finite: {logs}"
    return Outcome("skipped", str(logs))


def same(before, after):
    return all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
