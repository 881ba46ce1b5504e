import itertools

import keras
import numpy as np
import pytest

from keras_selfkd import (
    FRSKD,
    CutMix,
    EveryKSteps,
    MixSKD,
    SelfDistillationModel,
    Supervised,
)
from tests import toys

pytestmark = pytest.mark.filterwarnings("ignore:The self-teacher has:UserWarning")


def model_with(method, batch_norm=False):
    keras.utils.clear_session()
    keras.utils.set_random_seed(0)
    model = SelfDistillationModel(toys.classifier(batch_norm=batch_norm), method)
    model.compile(keras.optimizers.SGD(0.003), toys.cross_entropy())
    return model


def values(variables):
    return [variable.numpy() for variable in variables]


@pytest.mark.parametrize("eagerly", [False, True], ids=["graph", "eager"])
def test_distils_every_kth_step_and_trains_plainly_between(eagerly):
    images, labels = toys.class_data(8)
    model = model_with(EveryKSteps(FRSKD(width=1, depth=1), k=3))
    model.run_eagerly = eagerly
    teacher = model.method.method.self_teacher
    plain = model_with(Supervised())
    plain.run_eagerly = eagerly
    for step in range(7):
        plain.set_weights(model.student.get_weights())
        before = values(teacher.trainable_variables)
        logs = model.train_on_batch(images, labels, return_dict=True)
        plain.train_on_batch(images, labels)
        pairs = zip(before, values(teacher.trainable_variables), strict=True)
        moved = [not np.array_equal(old, new) for old, new in pairs]
        alike = all(
            np.allclose(one, other, atol=1e-6)
            for one, other in zip(
                model.student.get_weights(), plain.student.get_weights(), strict=True
            )
        )
        if step % 3 == 0:
            assert sum(moved) > len(moved) / 2
            assert not alike
        else:
            assert not any(moved)
            assert alike
            others = ("teacher_task_loss", "feature_loss", "soft_label_loss")
            assert [logs[name] for name in others] == [0.0, 0.0, 0.0]


def test_teacher_statistics_stay_between():
    images, labels = toys.class_data(8)
    model = model_with(EveryKSteps(FRSKD(width=1, depth=1), k=2), batch_norm=True)
    teacher = model.method.method.self_teacher
    history = [values(teacher.non_trainable_variables)]
    for _ in range(3):
        model.train_on_batch(images, labels)
        history.append(values(teacher.non_trainable_variables))
    same = [
        [np.array_equal(one, other) for one, other in zip(old, new, strict=True)]
        for old, new in itertools.pairwise(history)
    ]
    assert not any(same[0])
    assert all(same[1])
    assert not any(same[2])


def test_logs_are_means_over_all_steps_with_zeros_between():
    images, labels = toys.class_data(8)
    each, half = (
        model_with(method).fit(images, labels, batch_size=4, verbose=0, shuffle=False)
        for method in (
            FRSKD(width=1, depth=1),
            EveryKSteps(FRSKD(width=1, depth=1), k=2),
        )
    )
    first = model_with(FRSKD(width=1, depth=1)).fit(
        images[:4], labels[:4], verbose=0, shuffle=False
    )
    name = "soft_label_loss"
    np.testing.assert_allclose(
        half.history[name], 0.5 * np.array(first.history[name]), rtol=1e-4
    )
    assert half.history[name] != each.history[name]


@pytest.mark.filterwarnings("ignore:The student's layers after:UserWarning")
@pytest.mark.parametrize(
    "create",
    [lambda: FRSKD(width=1, mixing=CutMix()), MixSKD],
    ids=["cutmix", "mixskd"],
)
def test_works_with_methods_that_make_views(create):
    model = model_with(EveryKSteps(create(), k=2))
    history = model.fit(*toys.class_data(8), batch_size=4, epochs=2, verbose=0)
    assert np.isfinite(history.history["loss"]).all()


@pytest.mark.parametrize("k", [0, -1, 1.5, True])
def test_refuses_other_numbers(k):
    with pytest.raises(ValueError, match="Expected k to be an integer of at least 1"):
        EveryKSteps(FRSKD(), k=k)


def test_refuses_other_things_than_methods():
    with pytest.raises(ValueError, match="Expected a method"):
        EveryKSteps("frskd")


def test_refuses_mixing_of_its_own():
    with pytest.raises(ValueError, match="belongs to the method inside"):
        EveryKSteps(FRSKD(), mixing=CutMix())


def test_refuses_replicas(two_replicas):
    with two_replicas.scope():
        student = toys.classifier()
        with pytest.raises(ValueError, match="works on one device"):
            SelfDistillationModel(student, EveryKSteps(FRSKD(width=1)))
