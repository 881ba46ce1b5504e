"""How long the steps of a study's legs take: measured in turns, before training."""

import json
import statistics
import time

import keras

from examples.runs import methods
from examples.runs.study import COSTS, flags_set
from examples.runs.task import build, loaded
from examples.runs.training import training_data
from examples.runs.workers import open_strategy
from keras_selfkd.files import write_json

_TURNS, _STEPS = 3, 8


class StepClock(keras.callbacks.Callback):
    """Times the steps of one epoch, then stops.

    Attributes:
        seconds: The median of a step, without what the first one takes to be traced.
    """

    def on_epoch_begin(self, epoch, logs=None):
        self._last, self._seconds = time.perf_counter(), []

    def on_train_batch_end(self, batch, logs=None):
        now = time.perf_counter()
        self._seconds.append(now - self._last)
        self._last = now

    def on_epoch_end(self, epoch, logs=None):
        executions = len(self._seconds)
        self.seconds = statistics.median(self._seconds) * executions / _STEPS
        self.model.stop_training = True


class _Leg:
    """A leg's model, which is trained for a few steps at a time.

    A method that does something else from some epoch on (it says so: the step must be
    traced again) has several phases, each timed by itself.
    """

    def __init__(self, study, arguments):
        with flags_set(study.task, arguments):
            data = loaded(study.task)
            method = methods.METHOD.value
            self.model = build(study.task, method, data, open_strategy())
            self.data = training_data(data, 0, self.model)
            self.steps = data.steps_per_epoch
        self.epochs = max(study.budgets)
        changes = [
            epoch
            for epoch in range(1, self.epochs)
            if self.model.method.begin_epoch(epoch, self.epochs)
        ]
        self.phases = [0, *changes]

    def seconds(self):
        """Returns the seconds of a step, over all of the training."""
        ends = [*self.phases[1:], self.epochs]
        lengths = [end - start for start, end in zip(self.phases, ends, strict=True)]
        each = [self._seconds_at(epoch) for epoch in self.phases]
        pairs = zip(each, lengths, strict=True)
        return sum(seconds * length for seconds, length in pairs) / self.epochs

    def _seconds_at(self, epoch):
        clock = StepClock()
        self.model.fit(
            self.data,
            steps_per_epoch=_STEPS,
            initial_epoch=epoch,
            epochs=self.epochs,
            callbacks=[clock],
            shuffle=False,
            verbose=0,
        )
        return clock.seconds


def keep(study, costs):
    """Keeps what `step_costs` returned, for the same study started again."""
    write_json(study.path / COSTS, costs)


def step_costs(study, measure=True, afresh=False):
    """Returns what a step of each leg takes.

    Every leg is built and takes its first steps here, so that what cannot be trained is
    refused before the first training.

    Args:
        study: `Study`.
        measure: Boolean; `False` takes what was measured earlier. Defaults to `True`.
        afresh: Boolean; `True` does not. Defaults to `False`.

    Returns:
        Dict from leg, earlier ones included, to a dict of its `arguments`, the `steps`
        of an epoch, the
        `seconds` of a step and their `ratio` to the baseline's, medians over turns.

    Raises:
        ValueError: If a leg cannot be trained.
    """
    path = study.path / COSTS
    known = path.exists() and not afresh
    kept = json.loads(path.read_text(encoding="utf-8")) if known else {}
    missing = [
        leg
        for leg, arguments in study.legs.items()
        if kept.get(leg, {}).get("arguments") != list(arguments)
    ]
    if missing and not measure:
        raise ValueError(
            f"Expected {path} to have been written by a training. Received: nothing "
            f"there of {', '.join(missing)}"
        )
    models = {}
    for leg in dict.fromkeys([study.baseline, *missing] if missing else []):
        print(f"Trying {leg} ...", flush=True)
        models[leg] = _leg(study, leg)
    found = _in_turns(models, study.baseline) if models else {}
    for leg in missing:
        kept[leg] = {
            "arguments": list(study.legs[leg]),
            "steps": models[leg].steps,
            **found[leg],
        }
    return kept


def _leg(study, leg):
    try:
        model = _Leg(study, study.legs[leg])
        model.seconds()
    except (ValueError, ImportError, OSError) as error:
        raise ValueError(f"{leg}: {error}") from error
    return model


def _in_turns(models, baseline):
    turns = []
    for turn in range(_TURNS):
        order = list(models) if turn % 2 == 0 else list(models)[::-1]
        turns.append({leg: models[leg].seconds() for leg in order})
    return {
        leg: {
            "seconds": statistics.median(turn[leg] for turn in turns),
            "ratio": statistics.median(turn[leg] / turn[baseline] for turn in turns),
        }
        for leg in models
    }
