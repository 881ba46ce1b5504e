"""How long the steps of a study's legs take: measured in turns, before training."""

import json
import statistics
import time

import keras

from examples.runs import methods
from examples.runs.run import FREE_FLAGS
from examples.runs.study import COSTS, flags_set
from examples.runs.task import build, loaded
from examples.runs.training import training_data
from examples.runs.workers import open_strategy
from keras_selfkd.files import write_json

_TURNS, _STEPS = 3, 8


class StepClock(keras.callbacks.Callback):
    """Times the steps of one epoch, then stops.

    Attributes:
        seconds: The median of a step, without the first ones, which may be traced.
    """

    def on_epoch_begin(self, epoch, logs=None):
        self._last, self._seconds = time.perf_counter(), []

    def on_train_batch_end(self, batch, logs=None):
        now = time.perf_counter()
        self._seconds.append(now - self._last)
        self._last = now

    def on_epoch_end(self, epoch, logs=None):
        # One entry for each execution, of several steps where the model is so compiled.
        of_execution = statistics.median(self._seconds[1:])
        self.seconds = of_execution / self.model.steps_per_execution
        self.model.stop_training = True


class _Leg:
    """A leg's model, which is trained for a few steps at a time.

    A method that does something else from some epoch on (it says so: the step must be
    traced again) has several phases, each timed by itself.
    """

    def __init__(self, study, leg):
        self.epochs = max(study.budgets)
        with flags_set(study.task, study.arguments(leg, study.seeds[0], self.epochs)):
            data = loaded(study.task)
            method = methods.METHOD.value
            self.model = build(study.task, method, data, open_strategy())
            self.data = training_data(data, 0, self.model)
            self.steps = data.steps_per_epoch
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
            steps_per_epoch=(1 + _STEPS) * self.model.steps_per_execution,
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
        Dict from leg, earlier ones included, to a dict of what it is (`identity`), the
        epochs at which its `phases` begin, the `steps` of an epoch, the `seconds` of a
        step and the `ratio` of its epoch's time to the baseline's, medians over turns.

    Raises:
        ValueError: If a leg cannot be trained.
    """
    path = study.path / COSTS
    known = path.exists() and not afresh
    kept = json.loads(path.read_text(encoding="utf-8")) if known else {}
    _check_task(study, kept)
    identities = {leg: _identity(study, leg) for leg in study.legs}
    missing = [
        leg
        for leg, identity in identities.items()
        if leg not in kept or not _stands(kept[leg], identity)
    ]
    if missing and not measure:
        raise ValueError(
            f"Expected {path} to have been written by a training. Received: nothing "
            f"there of {', '.join(missing)}"
        )
    models = {}
    for leg in dict.fromkeys([study.baseline, *missing] if missing else []):
        print(f"Trying {leg} ...", flush=True)
        models[leg] = _tried(study, leg)
    found = _in_turns(models, study.baseline) if models else {}
    for leg in missing:
        model = {"phases": models[leg].phases, "steps": models[leg].steps}
        kept[leg] = {"identity": identities[leg], **model, **found[leg]}
    return kept


def _identity(study, leg):
    """What a cost depends on, as JSON has it."""
    flags = [flag for flag in study.legs[leg] if not flag.startswith(FREE_FLAGS)]
    return {
        "task": study.task.name,
        "flags": flags,
        "epochs": max(study.budgets),
        "baseline": study.baseline,
    }


def _stands(cost, identity):
    """Whether a kept cost is this leg's; one of a single phase is at any length."""
    of_any_length = {"epochs": None} if cost.get("phases") == [0] else {}
    return cost["identity"] | of_any_length == identity | of_any_length


def _check_task(study, kept):
    tasks = {cost["identity"]["task"] for cost in kept.values()}
    if tasks - {study.task.name}:
        raise ValueError(
            f"Expected --run_dir to be free or an earlier study of {study.task.name}. "
            f"Received: --run_dir={study.path}, a study of {', '.join(tasks)}"
        )


def _tried(study, leg):
    try:
        model = _Leg(study, leg)
        model.seconds()
    except (ValueError, ImportError, OSError) as error:
        raise ValueError(f"{leg}: {error}") from error
    return model


def _in_turns(models, baseline):
    turns = []
    for turn in range(_TURNS):
        order = list(models) if turn % 2 == 0 else list(models)[::-1]
        turns.append({leg: models[leg].seconds() for leg in order})
    steps = {leg: model.steps / models[baseline].steps for leg, model in models.items()}
    return {
        leg: {
            "seconds": statistics.median(turn[leg] for turn in turns),
            "ratio": steps[leg]
            * statistics.median(turn[leg] / turn[baseline] for turn in turns),
        }
        for leg in models
    }
