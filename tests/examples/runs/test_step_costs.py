import time

import keras
import pytest

from examples.runs import step_costs
from examples.runs.study import Study


class Fixed:
    """A leg whose steps take so long, and whose epochs have so many of them."""

    def __init__(self, seconds, steps):
        self.seconds, self.steps = lambda: seconds, steps


def test_ratios_are_those_of_epochs():
    legs = {"plain": Fixed(1.0, 10), "twice the batch": Fixed(2.0, 5)}
    found = step_costs._in_turns(legs, "plain")
    assert found["twice the batch"] == {"seconds": 2.0, "ratio": 1.0}


@pytest.mark.parametrize("executions", [1, 4])
def test_a_step_is_timed_without_the_first_ones(executions, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", steps_per_execution=executions)
    clock = step_costs.StepClock()
    clock.set_model(model)
    clock.on_epoch_begin(0)
    for batch, seconds in enumerate((30.0, 2.0, 9.0, 2.0)):
        now[0] += seconds
        clock.on_train_batch_end(batch)
    clock.on_epoch_end(0)
    assert clock.seconds == 2.0 / executions
    assert model.stop_training


@pytest.mark.parametrize(("phases", "stands"), [([0], True), ([0, 30], False)])
def test_a_longer_budget_keeps_the_costs_of_what_stays_the_same(phases, stands):
    """Else the epochs of its equal time would change, and its trainings be refused."""
    cost = {"identity": {"epochs": 60, "flags": []}, "phases": phases}
    assert step_costs._stands(cost, {"epochs": 240, "flags": []}) == stands
    assert not step_costs._stands(cost, {"epochs": 60, "flags": ["--width=2"]})


def test_costs_know_task_baseline_and_flags_but_not_where_the_data_are(tmp_path):
    class Task:
        name = "train_classifier"

    def study(*flags, baseline="plain", task=Task):
        legs = {"plain": (), "frskd": flags}
        return Study(task, legs, (0,), (4,), False, baseline, tmp_path)

    def identity(*flags, **options):
        return step_costs._identity(study(*flags, **options), "frskd")

    assert identity("--data_dir=a") == identity("--data_dir=b", "--verbose=2")
    assert identity() != identity("--width=2")
    assert identity() != identity(baseline="frskd")
    assert step_costs._stands({"identity": identity()}, identity())
    step_costs.keep(study(), {"frskd": {"identity": identity()}})
    Task.name = "train_segmenter"
    with pytest.raises(ValueError, match="a study of train_classifier"):
        step_costs.step_costs(study(), measure=False)
