import keras
import numpy as np
import pytest

from keras_selfkd import (
    FRSKD,
    Late,
    Method,
    Outputs,
    SelfDistillationModel,
    Supervised,
    Taught,
)
from tests import toys

pytestmark = pytest.mark.filterwarnings("ignore:The self-teacher has:UserWarning")


def outputs(embedding):
    rows = np.arange(6.0).reshape(6, 1)
    features = [np.tile(rows[:, None, None], (1, 2, 2, 3)), rows[:, None, None]]
    return Outputs(rows, features, rows if embedding else None)


@pytest.mark.parametrize("embedding", [True, False])
def test_split_gives_the_views_in_order(embedding):
    views = outputs(embedding).split(3)
    assert len(views) == 3
    for i, view in enumerate(views):
        np.testing.assert_array_equal(view.logits, [[2 * i], [2 * i + 1]])
        assert [f.shape for f in view.features] == [(2, 2, 2, 3), (2, 1, 1, 1)]
        assert float(view.features[0][1, 0, 0, 0]) == 2 * i + 1
        assert (view.embedding is not None) == embedding


def test_pack_undoes_tensors():
    original = outputs(embedding=True)
    packed = original.pack(original.tensors())
    assert packed.logits is original.logits
    assert packed.features == original.features
    assert packed.embedding is original.embedding


def test_supervised_has_one_term():
    method = Supervised()
    assert method.loss_weights == {"task": 1.0}
    again = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(method)
    )
    assert type(again) is Supervised


def test_error_hooks_left_out():
    assert Method().loss_weights == {"task": 1.0}
    with pytest.raises(NotImplementedError, match="Method must define `loss_terms`"):
        Method().loss_terms(None, {}, None)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (FRSKD, r"write `FRSKD\(\)`, with parentheses. Received: method=<class"),
        ("frskd", "a method object, such as `Supervised.*Received: method='frskd'"),
        (None, "Received: method=None"),
    ],
)
def test_error_no_method_object(method, message):
    with pytest.raises(ValueError, match=message):
        SelfDistillationModel(toys.classifier(), method)


def test_error_swapped_arguments():
    with pytest.raises(ValueError, match=r"`SelfDistillationModel\(student, method\)`"):
        SelfDistillationModel(FRSKD(), toys.classifier())


@pytest.mark.parametrize("wrap", [lambda method: method, Late])
def test_a_method_stays_usable_after_a_construction_that_failed(wrap):
    method = wrap(Taught(toys.classifier(), teacher_taps=["out2"]))
    student = toys.classifier()
    for taps, message in (
        (["out9"], "Unknown tap 'out9'"),
        (["out1", "out2"], "a tap for each of the student's"),
    ):
        with pytest.raises(ValueError, match=message):
            SelfDistillationModel(student, method, taps=taps)
    model = SelfDistillationModel(student, method, taps=["out2"])
    assert model.taps == ["out2"]
    unused = SelfDistillationModel(
        toys.classifier(),
        wrap(Taught(toys.classifier(), teacher_taps=["out2"])),
        taps=["out2"],
    )
    assert len(model.variables) == len(unused.variables)
    for _ in range(2):
        with pytest.raises(ValueError, match="already belongs to a student"):
            SelfDistillationModel(toys.classifier(), method, taps=["out2"])
