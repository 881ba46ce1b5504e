"""What every method must pass (CONTRIBUTING.md)."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_selfkd.batch import images_and_keys
from tests import equality
from tests.methods.cases import CASES
from tests.methods.trained import build, rows, slow_if, students, train

# The toys are so small that every self-teacher is larger; the warning has its test.
pytestmark = [
    pytest.mark.filterwarnings("ignore:The self-teacher has:UserWarning"),
    # The toy segmenter's skip crosses its smallest map.
    pytest.mark.filterwarnings("ignore:The student's layers after:UserWarning"),
]


def on_students(*every, **others):
    return pytest.mark.parametrize("of", students(*every, **others))


def on_trained(*every, **others):
    """As `on_students`, for tests that only look at one training of each."""
    return pytest.mark.parametrize("trained", students(*every, **others), indirect=True)


def on_replicas():
    """Few conditions, which combine the others; `benchmarks.reliability` has all."""
    return [
        pytest.param(
            method,
            condition,
            marks=slow_if(not CASES[method].fast or condition not in equality.FEW),
        )
        for method, condition in equality.cases(few=True)
    ]


@pytest.fixture(scope="module")
def trained(request):
    """One training for all tests that look at it: tracing is what takes time."""
    return train(request.param)


def norm(gradient):
    return 0.0 if gradient is None else float(tf.norm(tf.convert_to_tensor(gradient)))


@on_trained("class", "pixel", also=["nested"])
def test_learns_with_finite_terms(trained):
    terms, history = trained.terms, trained.history
    assert set(terms) == set(trained.model.method.loss_weights)
    assert all(np.isfinite(term) for term in terms.values())
    # Alone: soft labels have an entropy that no student gets rid of.
    # The first step's; some methods hold back a part of the task when they teach.
    first = max(float(terms["task"]), history["task_loss"][0])
    assert history["task_loss"][-1] < 0.7 * first
    assert set(history) == {"loss", "accuracy", *(f"{t}_loss" for t in terms)}


@on_trained("class", "pixel", also=["nested"])
def test_every_term_and_every_weight_gets_a_gradient(trained):
    for gradients in trained.gradients.values():
        assert sum(map(norm, gradients)) > 0.0
    each = zip(*trained.gradients.values(), strict=True)
    for weight, gradients in zip(trained.model.trainable_weights, each, strict=True):
        total = sum(tf.convert_to_tensor(g) for g in gradients if g is not None)
        assert norm(total) > 0.0, weight.path


@on_trained("class", "pixel")
def test_distillation_stops_where_the_paper_stops_it(trained):
    for gradients in trained.stopped.values():
        assert [norm(gradient) for gradient in gradients] == [0.0] * len(gradients)


@on_trained("class")
def test_zero_weight_means_no_gradient(trained):
    """The label of an example with weight 0 changes nothing; with another, it does."""
    model, labels = trained.model, trained.data[1]
    state = [*model.variables, *model.optimizer.variables]
    start = [variable.numpy() for variable in state]

    def after(first, weight):
        for variable, value in zip(state, start, strict=True):
            variable.assign(value)
        others = np.array(labels)
        others[0] = first
        trained.fit(others, np.array([weight] + [1.0] * 15, "float32"))
        return model.get_weights()

    same = zip(after(0, 0.0), after(1, 0.0), strict=True)
    assert all(np.array_equal(one, other) for one, other in same)
    same = zip(after(0, 1.0), after(1, 1.0), strict=True)
    assert not all(np.array_equal(one, other) for one, other in same)


@on_trained("class", "pixel")
def test_evaluate_and_predict_are_the_students_and_change_nothing(trained, monkeypatch):
    model, (images, labels) = trained.model, trained.data
    # Nothing of a method is in their graphs, which have tests of their own.
    monkeypatch.setattr(model, "run_eagerly", True)
    before = model.get_weights()
    logs = model.evaluate(images, labels, return_dict=True, verbose=0)
    predicted = model.predict(images, verbose=0)
    assert set(logs) == {"loss", "accuracy"}
    alone, _ = images_and_keys(images)
    np.testing.assert_array_equal(predicted, model.student(alone))
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


LOAD_WITHOUT_US = """
import json, sys
import keras, numpy as np
for path in sys.stdin:
    student = keras.models.load_model(path.strip())
    ours = [name for name in sys.modules if name.startswith("keras_selfkd")]
    logits = np.array(student(np.ones((1, 16, 16, 3), "float32"))).tolist()
    print(json.dumps({"ours": ours, "logits": logits}), flush=True)
"""


@pytest.fixture(scope="module")
def other_process():
    """Asks a process that never imports this package what a saved student says."""
    command = [sys.executable, "-c", LOAD_WITHOUT_US]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as process:

        def ask(path):
            print(path, file=process.stdin, flush=True)
            return json.loads(process.stdout.readline())

        yield ask
        # Left to end by itself after it has predicted, it was seen to hang.
        process.kill()


@on_trained("class")
def test_student_loads_without_this_package(trained, other_process, tmp_path):
    trained.model.student.save(tmp_path / "student.keras")
    loaded = other_process(tmp_path / "student.keras")
    assert loaded["ours"] == []
    expected = trained.model.student(np.ones((1, 16, 16, 3), "float32"))
    np.testing.assert_allclose(loaded["logits"], expected, rtol=1e-5, atol=1e-6)


@on_trained("class")
def test_export_holds_only_the_student(trained, tmp_path):
    trained.model.export(tmp_path / "saved_model", verbose=False)
    exported = tf.saved_model.load(tmp_path / "saved_model")
    assert len(exported.variables) == len(trained.model.student.variables)


@on_students("counting", also=["pixel"])
def test_reloaded_training_goes_on_bit_for_bit(of, tmp_path):
    """Saved after three batches, with an update every two and two in an execution.

    And each is one forward pass of the student, unless the method says otherwise.
    Traced where the method is fast: a graph is saved no otherwise.
    """
    optimizer = keras.optimizers.SGD(0.01, momentum=0.9, gradient_accumulation_steps=2)
    how = {"steps_per_execution": 2, "run_eagerly": not of[0].fast}
    model, data = build(of, optimizer, dropout=0.3, compile_options=how)
    options = {"batch_size": 8, "shuffle": False, "verbose": 0}
    start = [weight.numpy() for weight in model.trainable_weights]
    model.fit(*rows(data, slice(8)), **options)
    for weight, value in zip(model.trainable_weights, start, strict=True):
        np.testing.assert_array_equal(weight, value, err_msg=weight.path)
    model.fit(*data, **options)
    for weight, value in zip(model.trainable_weights, start, strict=True):
        assert np.any(weight != value), weight.path
    if of[1] == "counting":
        assert float(model.student.get_layer("counter").count) == 3.0 * of[0].passes
    model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    weights_only = type(model).from_config(model.get_config())
    weights_only.load_weights(tmp_path / "model.weights.h5")
    for ours, theirs in zip(model.weights, weights_only.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs, err_msg=ours.path)
    for resumed in (model, loaded):
        resumed.fit(*data, **options)
    for ours, theirs in zip(model.weights, loaded.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs, err_msg=ours.path)
    for ours, theirs in zip(
        model.optimizer.variables, loaded.optimizer.variables, strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize(("method", "condition"), on_replicas())
def test_two_replicas_train_as_one(two_replicas, method, condition):
    """In float64: synchronised BatchNorm sums its statistics in another order."""
    one_device = tf.distribute.get_strategy()
    expected, logs = equality.train(method, condition, one_device)
    untrained, _ = equality.train(method, condition, one_device, epochs=0)
    trained, replica_logs = equality.train(method, condition, two_replicas)
    assert equality.difference(expected, untrained) > 1e-4
    assert equality.difference(expected, trained) < 1e-5
    assert replica_logs == pytest.approx(logs, rel=1e-5)


def in_both_precisions():
    """A method that stays finite in float16 mostly does in bfloat16, of wider range.

    Traced where it is fast: what is computed is the same, and soon done.
    """
    return [
        pytest.param(policy, *case.values, id=f"{policy}-{case.id}", marks=case.marks)
        for policy in ("mixed_float16", "mixed_bfloat16")
        for case in students("class", also=["pixel"], again=False)
        if policy == "mixed_float16" or case.values[0][0].fast
    ]


@pytest.mark.parametrize(("policy", "of"), in_both_precisions())
def test_finite_in_mixed_precision(of, policy, tmp_path):
    keras.config.set_dtype_policy(policy)
    how = {"run_eagerly": not of[0].fast}
    try:
        model, (images, labels) = build(of, compile_options=how)
    finally:
        keras.config.set_dtype_policy("float32")
    before = model.get_weights()
    history = model.fit(images, labels, batch_size=8, epochs=2, verbose=0).history
    assert all(np.all(np.isfinite(values)) for values in history.values())
    assert any(np.any(a != b) for a, b in zip(before, model.get_weights(), strict=True))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for layer in loaded.method._flatten_layers(include_self=False):
        # A functional model computes as its layers do, whatever its own policy is.
        has_policy = layer.weights and not hasattr(layer, "operations")
        if has_policy and not layer.name.endswith("logits"):
            assert layer.dtype_policy.name == policy, layer.path


@on_students("class", slow=True, again=False)
def test_xla_compiles(of):
    options = {"compile_options": {"jit_compile": True}}
    if not of[0].method().supports_jit:
        with pytest.warns(UserWarning, match="doesn't support `jit_compile=True`"):
            model, _ = build(of, **options)
        assert model.jit_compile is False
        return
    model, data = build(of, **options)
    with pytest.warns(UserWarning, match="jit_compile=True is several times slower"):
        history = model.fit(*data, epochs=2, verbose=0).history
    assert np.all(np.isfinite(history["loss"]))


@pytest.mark.usefixtures("double")
@on_students(also=["counting", "pixel"])
def test_steps_are_the_same_eagerly_in_a_graph_and_several_at_once(of):
    """And each is one forward pass of the student. In float64, as rounding grows."""
    runs = []
    for options in ({}, {"steps_per_execution": 2}, {"run_eagerly": True}):
        keras.utils.clear_session(free_memory=False)
        keras.utils.set_random_seed(0)
        model, data = build(of, compile_options=options)
        # Three batches an epoch: the second execution of two steps has one.
        fit = model.fit(*data, batch_size=6, epochs=2, shuffle=False, verbose=0)
        assert int(model.optimizer.iterations) == 6
        if of[1] == "counting":
            assert float(model.student.get_layer("counter").count) == 6.0
        runs.append((model.weights, fit.history["loss"]))
    (weights, losses), *others = runs
    for other_weights, other_losses in others:
        np.testing.assert_allclose(other_losses, losses, rtol=1e-6)
        for weight, other in zip(weights, other_weights, strict=True):
            np.testing.assert_allclose(other, weight, 1e-6, 1e-7, err_msg=weight.path)
