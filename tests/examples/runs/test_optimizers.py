import keras
import numpy as np
import pytest

from examples.runs.optimizers import learning_rate_schedule
from keras_selfkd.optimizers import SGDWithL2
from keras_selfkd.schedules import WarmUp


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
