import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_selfkd import FRSKD, CutMix, Late, SelfDistillationModel, Supervised
from tests import toys
from tests.methods.strangers import Deeper

pytestmark = pytest.mark.filterwarnings("ignore:The self-teacher has:UserWarning")


def model_with(method, batch_norm=True):
    keras.utils.set_random_seed(0)
    student = toys.classifier(batch_norm=batch_norm)
    # A level less of the self-teacher to trace.
    model = SelfDistillationModel(student, method, taps=["out2", "out3"])
    optimizer = keras.optimizers.SGD(0.003, momentum=0.9, weight_decay=0.01)
    model.compile(optimizer, toys.cross_entropy(), metrics=["accuracy"])
    return model


def fit(model, **options):
    options = {"epochs": 4, "batch_size": 8, "shuffle": False, "verbose": 0, **options}
    return model.fit(*toys.class_data(), **options).history


def values(variables):
    return [variable.numpy() for variable in variables]


class Weights(keras.callbacks.Callback):
    """The weights of student and method at the end of each epoch."""

    def on_train_begin(self, logs=None):
        self.student, self.method = [], [values(self.model.method.variables)]

    def on_epoch_end(self, epoch, logs=None):
        self.student.append(self.model.student.get_weights())
        self.method.append(values(self.model.method.variables))


@pytest.mark.parametrize("eagerly", [False, True], ids=["graph", "eager"])
def test_is_plain_training_until_it_begins(eagerly):
    weights, plain = Weights(), Weights()
    late = model_with(Late(FRSKD(width=1, depth=1), start=0.5))
    late.run_eagerly = eagerly
    history = fit(late, callbacks=[weights])
    fit(model_with(Supervised()), callbacks=[plain])
    for epoch in range(2):
        for one, other in zip(
            weights.student[epoch], plain.student[epoch], strict=True
        ):
            np.testing.assert_allclose(one, other, atol=1e-6)
    at_rest = zip(weights.method[0], weights.method[2], strict=True)
    assert all(np.array_equal(one, other) for one, other in at_rest)
    moved = zip(weights.method[2], weights.method[3], strict=True)
    moved = [not np.array_equal(one, other) for one, other in moved]
    assert sum(moved) > len(moved) / 2
    for term in ("teacher_task", "soft_label", "feature"):
        logged = np.array(history[f"{term}_loss"])
        assert logged[:2].tolist() == [0, 0]
        assert (logged[2:] > 0).all()


def convolutions(model):
    """Number of convolutions in a training step, forward and backward."""
    model.make_train_function()
    step = tf.function(model.train_step, autograph=False)
    step = step.get_concrete_function(toys.class_data(8))
    functions = [step.graph.as_graph_def(), *step.graph.as_graph_def().library.function]
    nodes = [n for f in functions for n in getattr(f, "node", None) or f.node_def]
    return sum("Conv2D" in node.op or "Conv2dNative" in node.op for node in nodes)


@pytest.mark.slow
def test_its_step_computes_no_more_than_plain_training_before():
    late, plain, method = (
        model_with(method)
        for method in (
            Late(FRSKD(width=1, depth=1)),
            Supervised(),
            FRSKD(width=1, depth=1),
        )
    )
    assert 0 < convolutions(late) == convolutions(plain)
    late.method.begin_epoch(2, 3)
    assert convolutions(late) == convolutions(method) > convolutions(plain)


def test_is_the_method_itself_from_the_first_epoch_on_where_asked():
    late, method = (
        model_with(method)
        for method in (Late(FRSKD(width=1, depth=1), start=0), FRSKD(width=1, depth=1))
    )
    fit(late)
    fit(method)
    for one, other in zip(late.get_weights(), method.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.slow
def test_knows_after_a_resume_that_it_has_begun(tmp_path):
    whole, half = (model_with(Late(FRSKD(width=1, depth=1))) for _ in range(2))
    fit(whole, epochs=3)
    # Stopped after two of three epochs.
    stop = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: setattr(half, "stop_training", epoch == 1)
    )
    fit(half, epochs=3, callbacks=[stop])
    half.save(tmp_path / "half.keras")
    again = keras.models.load_model(tmp_path / "half.keras")
    history = fit(again, epochs=3, initial_epoch=2)
    assert history["feature_loss"][0] > 0
    for one, other in zip(whole.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_a_second_fit_starts_plainly_again():
    model = model_with(Late(Deeper(), start=0.5))
    for _ in range(2):
        assert fit(model, epochs=2)["attention_loss"][0] == 0


@pytest.mark.slow
def test_on_replicas(two_replicas):
    with two_replicas.scope():
        model = model_with(Late(Deeper(), start=0.5), batch_norm=False)
    history = fit(model, epochs=2)
    assert history["attention_loss"][0] == 0
    assert history["attention_loss"][1] > 0


def test_warns_where_it_never_begins():
    model = model_with(Late(FRSKD(width=1, depth=1)))
    with pytest.warns(UserWarning, match="Of 1 epochs none begins after 0.667"):
        fit(model, epochs=1)


@pytest.mark.parametrize("start", [1, -0.1, "half", True])
def test_error_start(start):
    with pytest.raises(ValueError, match="Expected start to be a finite number"):
        Late(FRSKD(), start=start)


def test_error_no_method():
    with pytest.raises(ValueError, match="Expected a method"):
        Late("frskd")


def test_error_mixing_of_its_own():
    with pytest.raises(ValueError, match="belongs to the method inside"):
        Late(FRSKD(), mixing=CutMix())
