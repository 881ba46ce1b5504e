"""What every method must pass (CONTRIBUTING.md)."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_selfkd import SelfDistillationModel
from keras_selfkd.supervision import Supervision
from tests import equality, toys
from tests.methods.cases import CASES

STUDENTS = {
    "class": (toys.classifier, toys.class_data),
    "pixel": (toys.segmenter, toys.pixel_data),
    "nested": (toys.nested_classifier, toys.class_data),
}
# The toys are so small that every self-teacher is larger; the warning has its test.
pytestmark = [
    pytest.mark.filterwarnings("ignore:The self-teacher has:UserWarning"),
    # The toy segmenter's skip crosses its smallest map.
    pytest.mark.filterwarnings("ignore:The student's layers after:UserWarning"),
]


def slow_if(condition):
    return pytest.mark.slow if condition else ()


def on_students(*fast, slow=()):
    """Every case with students that it takes, those of slow cases in the slow suite."""
    return pytest.mark.parametrize(
        ("case", "student"),
        [
            pytest.param(
                case,
                student,
                id=f"{name}-{student}",
                marks=slow_if(case.slow or student in slow),
            )
            for name, case in CASES.items()
            for student in (*fast, *slow)
            if not (case.classes_only and student == "pixel")
        ],
    )


def on_replicas():
    """FRSKD under every condition, the others under few: benchmarks/replicas.py."""
    return [
        pytest.param(
            method,
            condition,
            marks=slow_if(CASES[method].slow or condition not in equality.FEW),
        )
        for method, condition in equality.cases()
        if method == "frskd" or condition in equality.FEW
    ]


@pytest.fixture(
    params=[pytest.param(name, marks=slow_if(CASES[name].slow)) for name in CASES]
)
def case(request):
    return CASES[request.param]


def build(case, student="class", optimizer=None, compile_options=None, **options):
    create, data = STUDENTS[student]
    model = SelfDistillationModel(create(**options), case.method(student == "pixel"))
    model.compile(
        optimizer or keras.optimizers.Adam(0.01),
        toys.cross_entropy(),
        metrics=["accuracy"],
        **(compile_options or {}),
    )
    return model, data()


def terms_of(model, images, labels):
    supervision = Supervision(model.loss)
    batch = {"x": images, "y": labels, "sample_weight": None, "valid": None}
    batch = model.method.prepare(batch)
    terms = model.method.loss_terms(
        model.outputs_of(batch["x"], training=True), batch, supervision
    )
    return {name: tf.reduce_mean(term) for name, term in terms.items()}


def norm(gradient):
    return 0.0 if gradient is None else float(tf.norm(tf.convert_to_tensor(gradient)))


@keras.saving.register_keras_serializable(package="tests")
class CountCalls(keras.layers.Layer):
    def build(self, input_shape):
        self.count = self.add_weight(shape=(), trainable=False, initializer="zeros")

    def call(self, inputs):
        self.count.assign_add(1.0)
        return inputs


def test_one_student_forward_a_step(case):
    images = keras.Input((16, 16, 3))
    counter = CountCalls()
    x = keras.layers.GlobalAveragePooling2D()(toys.body(counter(images)))
    student = keras.Model(images, keras.layers.Dense(toys.CLASSES)(x))
    model = SelfDistillationModel(student, case.method())
    model.compile("sgd", toys.cross_entropy())
    model.fit(*toys.class_data(12), batch_size=4, verbose=0)
    assert float(counter.count) == 3.0


@on_students("class", "pixel", slow=["nested"])
def test_learns_with_finite_terms(case, student):
    model, (images, labels) = build(case, student)
    terms = terms_of(model, images, labels)
    assert set(terms) == set(model.method.loss_weights)
    assert all(np.isfinite(term) for term in terms.values())
    history = model.fit(images, labels, batch_size=16, epochs=30, verbose=0).history
    assert history["loss"][-1] < 0.7 * history["loss"][0]
    assert set(history) == {"loss", "accuracy", *(f"{t}_loss" for t in terms)}


@on_students("class", "pixel", slow=["nested"])
def test_every_term_and_every_weight_gets_a_gradient(case, student):
    model, data = build(case, student)
    with tf.GradientTape(persistent=True) as tape:
        terms = terms_of(model, *data)
        total = sum(terms.values())
    for term in terms.values():
        gradients = tape.gradient(term, model.trainable_weights)
        assert sum(map(norm, gradients)) > 0.0
    gradients = tape.gradient(total, model.trainable_weights)
    for weight, gradient in zip(model.trainable_weights, gradients, strict=True):
        assert norm(gradient) > 0.0, weight.path


@on_students("class", "pixel")
def test_distillation_stops_where_the_paper_stops_it(case, student):
    model, data = build(case, student)
    with tf.GradientTape(persistent=True) as tape:
        terms = terms_of(model, *data)
    for name in case.stopped_terms:
        gradients = tape.gradient(terms[name], case.teacher(model.method))
        assert [norm(gradient) for gradient in gradients] == [0.0] * len(gradients)


@on_students("class", slow=["pixel"])
@pytest.mark.usefixtures("graphs_as_written")
def test_reloaded_training_goes_on_bit_for_bit(case, student, tmp_path):
    model, (images, labels) = build(case, student, dropout=0.3)
    model.fit(images, labels, batch_size=8, shuffle=False, verbose=0)
    model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    weights_only = type(model).from_config(model.get_config())
    weights_only.load_weights(tmp_path / "model.weights.h5")
    for ours, theirs in zip(model.weights, weights_only.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs, err_msg=ours.path)
    for resumed in (model, loaded):
        resumed.fit(images, labels, batch_size=8, shuffle=False, verbose=0)
    for ours, theirs in zip(model.weights, loaded.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs, err_msg=ours.path)
    for ours, theirs in zip(
        model.optimizer.variables, loaded.optimizer.variables, strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


LOAD_WITHOUT_US = """
import json, sys
import keras, numpy as np
student = keras.models.load_model(sys.argv[1])
ours = [name for name in sys.modules if name.startswith("keras_selfkd")]
logits = student.predict(np.ones((1, 16, 16, 3), "float32"), verbose=0)
print(json.dumps({"ours": ours, "logits": logits.tolist()}))
"""


def test_student_loads_without_this_package(case, tmp_path):
    model, data = build(case)
    model.fit(*data, verbose=0)
    model.student.save(tmp_path / "student.keras")
    command = [sys.executable, "-c", LOAD_WITHOUT_US, str(tmp_path / "student.keras")]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    loaded = json.loads(output.splitlines()[-1])
    assert loaded["ours"] == []
    expected = model.predict(np.ones((1, 16, 16, 3), "float32"), verbose=0)
    np.testing.assert_allclose(loaded["logits"], expected, rtol=1e-5)


def test_export_holds_only_the_student(case, tmp_path):
    model, _ = build(case)
    model.export(tmp_path / "saved_model", verbose=False)
    exported = tf.saved_model.load(tmp_path / "saved_model")
    assert len(exported.variables) == len(model.student.variables)


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


@pytest.mark.usefixtures("graphs_as_written")
def test_zero_weight_means_no_gradient(case):
    """The label of an example with weight 0 changes nothing."""
    images, labels = toys.class_data(8)
    weight = np.array([0.0] + [1.0] * 7)
    trained = []
    for first in (0, 1):
        keras.utils.clear_session()
        keras.utils.set_random_seed(1)
        model, _ = build(case)
        labels[0] = first
        model.train_on_batch(images, labels, sample_weight=weight)
        trained.append(model.get_weights())
    for one, other in zip(*trained, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@on_students("class", slow=["pixel"])
def test_finite_in_mixed_precision(case, student, policy, tmp_path):
    keras.config.set_dtype_policy(policy)
    try:
        model, (images, labels) = build(case, student)
    finally:
        keras.config.set_dtype_policy("float32")
    before = model.get_weights()
    history = model.fit(images, labels, batch_size=8, epochs=3, verbose=0).history
    assert all(np.all(np.isfinite(values)) for values in history.values())
    assert any(np.any(a != b) for a, b in zip(before, model.get_weights(), strict=True))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for layer in loaded.method._flatten_layers(include_self=False):
        # A functional model computes as its layers do, whatever its own policy is.
        has_policy = layer.weights and not hasattr(layer, "operations")
        if has_policy and not layer.name.endswith("logits"):
            assert layer.dtype_policy.name == policy, layer.path


@pytest.mark.slow
def test_xla_compiles(case):
    options = {"compile_options": {"jit_compile": True}}
    if not case.create().supports_jit:
        with pytest.warns(UserWarning, match="doesn't support `jit_compile=True`"):
            model, _ = build(case, **options)
        assert model.jit_compile is False
        return
    model, data = build(case, **options)
    with pytest.warns(UserWarning, match="jit_compile=True is several times slower"):
        history = model.fit(*data, epochs=2, verbose=0).history
    assert np.all(np.isfinite(history["loss"]))


@on_students("class", slow=["pixel"])
def test_several_steps_an_execution_are_the_same_steps(case, student):
    trained = []
    for steps in (1, 2):
        keras.utils.clear_session()
        keras.utils.set_random_seed(0)
        options = {"steps_per_execution": steps}
        model, data = build(case, student, compile_options=options)
        # Three batches an epoch: the second execution of two steps has one.
        model.fit(*data, batch_size=6, epochs=2, shuffle=False, verbose=0)
        assert int(model.optimizer.iterations) == 6
        trained.append(model)
    one, two = trained
    for weight, other in zip(one.weights, two.weights, strict=True):
        np.testing.assert_allclose(other, weight, 1e-4, 1e-5, err_msg=weight.path)


@on_students("class", slow=["pixel"])
def test_gradient_accumulation(case, student):
    optimizer = keras.optimizers.SGD(0.1, gradient_accumulation_steps=2)
    model, (images, labels) = build(case, student, optimizer)
    start = model.get_weights()
    model.train_on_batch(images, labels)
    trainable = {id(weight) for weight in model.trainable_weights}
    for weight, value in zip(model.weights, start, strict=True):
        if id(weight) in trainable:
            np.testing.assert_array_equal(weight, value, err_msg=weight.path)
    model.train_on_batch(images, labels)
    changed = [
        np.any(weight != value)
        for weight, value in zip(model.weights, start, strict=True)
        if id(weight) in trainable
    ]
    assert all(changed)


def test_eager_equals_graph(case):
    histories = []
    for eagerly in (True, False):
        keras.utils.clear_session()
        keras.utils.set_random_seed(1)
        optimizer = keras.optimizers.SGD(0.01)
        options = {"run_eagerly": eagerly}
        model, data = build(case, "class", optimizer, compile_options=options)
        fit = model.fit(*data, batch_size=8, epochs=2, shuffle=False, verbose=0)
        histories.append(fit.history["loss"])
    np.testing.assert_allclose(*histories, rtol=1e-4)


@on_students("class", slow=["pixel"])
def test_evaluate_and_predict_are_the_students_and_change_nothing(case, student):
    model, (images, labels) = build(case, student)
    model.fit(images, labels, verbose=0)
    before = model.get_weights()
    logs = model.evaluate(images, labels, return_dict=True, verbose=0)
    predicted = model.predict(images, verbose=0)
    assert set(logs) == {"loss", "accuracy"}
    np.testing.assert_array_equal(predicted, model.student.predict(images, verbose=0))
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
