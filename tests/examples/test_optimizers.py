import keras
import numpy as np
import pytest
from keras.ops import convert_to_numpy as to_numpy

from examples.optimizers import SGDWithL2, WarmUp, learning_rate_schedule


@pytest.mark.parametrize("nesterov", [False, True])
def test_steps_restated_in_numpy(nesterov):
    rate, momentum, l2 = 0.1, 0.9, 0.05
    weight, velocity = np.array([1.0, -2.0]), np.zeros(2)
    variable = keras.Variable(weight)
    optimizer = SGDWithL2(rate, momentum, nesterov, l2)
    for gradient in np.array([[0.5, 1.0], [-1.0, 0.25], [0.0, 2.0]]):
        optimizer.apply([keras.ops.convert_to_tensor(gradient, "float32")], [variable])
        total = gradient + l2 * weight
        velocity = momentum * velocity - rate * total
        weight = weight + (momentum * velocity - rate * total if nesterov else velocity)
        np.testing.assert_allclose(to_numpy(variable), weight, rtol=1e-6)


def test_l2_acts_on_every_trainable_variable():
    layers = [keras.layers.Dense(2), keras.layers.BatchNormalization()]
    model = keras.Sequential([keras.Input((3,)), *layers])
    before = [to_numpy(v) + 1 for v in model.trainable_variables]
    model.set_weights([weight + 1 for weight in model.get_weights()])
    optimizer = SGDWithL2(0.5, l2=0.1)
    zeros = [keras.ops.zeros(v.shape) for v in model.trainable_variables]
    optimizer.apply(zeros, model.trainable_variables)
    for variable, start in zip(model.trainable_variables, before, strict=True):
        np.testing.assert_allclose(
            to_numpy(variable), start * (1 - 0.5 * 0.1), rtol=1e-6
        )


def test_l2_equals_keras_regularizer_of_half_the_strength():
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(12, 4)), generator.normal(size=(12, 2))
    start = generator.normal(size=(4, 2))

    def train(optimizer, regularizer):
        dense = keras.layers.Dense(2, use_bias=False, kernel_regularizer=regularizer)
        model = keras.Sequential([keras.Input((4,)), dense])
        dense.kernel.assign(start)
        model.compile(optimizer, "mse")
        model.fit(x, y, batch_size=4, epochs=2, shuffle=False, verbose=0)
        return to_numpy(dense.kernel)

    ours = train(SGDWithL2(0.1, momentum=0.9, l2=0.3), None)
    keras_own = train(
        keras.optimizers.SGD(0.1, momentum=0.9), keras.regularizers.L2(0.15)
    )
    decoupled = train(keras.optimizers.SGD(0.1, momentum=0.9, weight_decay=0.3), None)
    np.testing.assert_allclose(ours, keras_own, rtol=1e-5)
    assert not np.allclose(ours, decoupled, rtol=1e-3)


def test_without_l2_it_is_keras_sgd():
    variables = [keras.Variable([1.0, 2.0]) for _ in range(2)]
    gradient = keras.ops.convert_to_tensor([0.3, -0.1])
    for optimizer, variable in zip(
        (SGDWithL2(0.1, momentum=0.9), keras.optimizers.SGD(0.1, momentum=0.9)),
        variables,
        strict=True,
    ):
        optimizer.apply([gradient], [variable])
    np.testing.assert_array_equal(*map(to_numpy, variables))


def test_optimizer_and_schedule_survive_a_file(tmp_path):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    rate = learning_rate_schedule("cosine", peak=0.4, steps=20, warmup_steps=5)
    model.compile(SGDWithL2(rate, momentum=0.9, nesterov=True, l2=5e-4), "mse")
    model.fit(np.ones((4, 2)), np.ones((4, 1)), verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras").optimizer
    assert type(loaded) is SGDWithL2
    assert loaded.get_config() == model.optimizer.get_config()
    assert int(loaded.iterations) == 1
    for step in (0, 4, 5, 19):
        assert float(loaded._learning_rate(step)) == float(rate(step))


def test_negative_l2_is_refused():
    with pytest.raises(ValueError, match=r"`l2` to be at least 0\. Received: l2=-0\.1"):
        SGDWithL2(l2=-0.1)


def rates(name, steps, **kwargs):
    schedule = learning_rate_schedule(name, peak=0.4, steps=steps, **kwargs)
    return np.array([float(schedule(step)) for step in range(steps)])


def test_constant():
    np.testing.assert_allclose(rates("constant", 5), [0.4] * 5)


def test_cosine():
    expected = 0.2 * (1 + np.cos(np.pi * np.arange(8) / 8))
    np.testing.assert_allclose(rates("cosine", 8), expected, rtol=1e-5)


@pytest.mark.parametrize("warmup_steps", [0, 3])
@pytest.mark.parametrize("steps", [8, 10, 200])
def test_step_drops_at_half_and_three_quarters(steps, warmup_steps):
    after = rates("step", steps, warmup_steps=warmup_steps)[warmup_steps:]
    share = np.arange(warmup_steps, steps) / steps
    expected = np.select([share < 0.5, share < 0.75], [0.4, 0.04], 0.004)
    np.testing.assert_allclose(after, expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["constant", "cosine", "step"])
def test_warm_up_rises_linearly_to_the_peak(name):
    values = rates(name, 20, warmup_steps=4)
    np.testing.assert_allclose(values[:5], [0.1, 0.2, 0.3, 0.4, 0.4], rtol=1e-6)


def test_cosine_after_warm_up_spans_the_rest():
    expected = 0.2 * (1 + np.cos(np.pi * np.arange(8) / 8))
    np.testing.assert_allclose(rates("cosine", 10, warmup_steps=2)[2:], expected, 1e-5)


def test_unknown_schedule_is_refused():
    with pytest.raises(ValueError, match=r"'constant', 'cosine' or 'step'.*'linear'"):
        learning_rate_schedule("linear", peak=0.1, steps=10)


@pytest.mark.parametrize("warmup_steps", [-1, 10])
def test_warm_up_must_leave_steps(warmup_steps):
    with pytest.raises(ValueError, match=f"warmup_steps={warmup_steps}, steps=10"):
        learning_rate_schedule("cosine", peak=0.1, steps=10, warmup_steps=warmup_steps)


def test_warm_up_of_no_steps_is_refused():
    schedule = learning_rate_schedule("constant", peak=0.1, steps=10)
    with pytest.raises(ValueError, match="Received: warmup_steps=0"):
        WarmUp(schedule, warmup_steps=0)
