"""The trainings of a study: each kept in a directory of its own, skipped when done."""

import concurrent.futures
import contextlib
import fcntl
import importlib
import itertools
import json
import multiprocessing
import os
import threading

import numpy as np

from examples.results.class_results import confusion_matrix, facts
from examples.runs import methods, recipe, training
from examples.runs.machine import machine
from examples.runs.recorder import DivergedError
from examples.runs.run import Run
from examples.runs.study import flags_set
from examples.runs.task import build, loaded, module_of, ship, student_name
from examples.runs.unused_flags import refuse_unused
from examples.runs.workers import open_strategy
from keras_selfkd.files import staging, write_json

# The matrix of more classes can't be seen, and soon not be held either.
_MOST_CLASSES = 1000
RESULT, ARRAYS = "result.json", "evaluation.npz"


def kept(one):
    """Returns a training's result, a dict, or `None` where it is not finished."""
    path = one.path / RESULT
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def check_legs(study):
    """Refuses legs that could not be trained, before anything is built.

    Raises:
        ValueError: For flags without a use, and data that cannot be read.
    """
    for leg, arguments in study.legs.items():
        with flags_set(study.task, arguments):
            try:
                refuse_unused()
                training.check_installed()
                if recipe.STRATEGY.value == "multi_worker":
                    raise ValueError("A study trains on one machine.")
                loaded(study.task)
            except (ValueError, ImportError, OSError) as error:
                raise ValueError(f"{leg}: {error}") from error


def check_trainings(study, trainings, costs):
    """Refuses trainings that could not begin, or whose directory holds other ones.

    Raises:
        ValueError: If there is one; the message says why.
    """
    for one in trainings:
        with flags_set(study.task, one.arguments):
            try:
                recipe.optimizer(costs[one.leg]["steps"])
            except ValueError as error:
                raise ValueError(f"{one.leg}, {one.epochs} epochs: {error}") from error
            if one.path.exists():
                run = _claim(study, one)
                if run.finished:  # It may have been killed right after that.
                    run.discard_checkpoints()


@contextlib.contextmanager
def alone(study):
    """Inside, no other process trains the same study.

    Raises:
        ValueError: If another one does.
    """
    study.path.mkdir(parents=True, exist_ok=True)
    directory = os.open(study.path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ValueError(
                "Expected --run_dir to be free. Received: "
                f"--run_dir={study.path}, where another process trains"
            ) from error
        yield
    finally:
        os.close(directory)  # So does a killed process.


def _claim(study, one):
    note = training.FAST_NOTE if recipe.FAST.value else ""
    run = Run(one.path, note)
    goes_on = {"resume": True, "overwrite": False}
    run.claim(**training.identity(module_of(study.task)) | goes_on)
    return run


def carry_out(study, one):
    """Trains, rates and keeps one training; goes on where it was interrupted.

    Args:
        study: `Study`.
        one: `Training`.
    """
    with flags_set(study.task, one.arguments):
        run = _claim(study, one)
        data, method = loaded(study.task), methods.METHOD.value
        model = build(study.task, method, data, open_strategy())
        result = {
            "leg": one.leg,
            "seed": one.seed,
            "budget": one.budget,
            "epochs": recipe.epochs(),
            "flags": list(one.arguments),
            "machine": machine(),
            **facts(data, student_name(study.task), run),
        }
        try:
            result["seconds"] = training.fit(
                model, method, data, run, study.task.metric, recipe.VERBOSE.value or 0
            )
        except DivergedError as error:
            result["diverged"] = str(error)
        else:
            truth = np.concatenate([labels for _, labels in data.test])
            path = run.path / "student.keras"
            rating = ship(study.task, model.student, path, data, truth)
            if np.isfinite(rating.score["nll"]):
                score = rating.score | _validation(study.task, run, method)
                result["score"] = score
                _keep_arrays(run.path / ARRAYS, rating, truth, data)
            else:
                result["diverged"] = "What it says of test images is not finite."
        write_json(run.path / RESULT, result)
        run.discard_checkpoints()


def _validation(task, run, method):
    """The metric on validation images, of the epoch whose weights are kept."""
    values = [row.get(f"val_{task.metric}") for row in run.rows(method)]
    if {None, ""} & set(values):
        return {}
    values = [float(value) for value in values]
    return {"validation": max(values) if recipe.BEST_EPOCH.value else values[-1]}


def _keep_arrays(path, rating, truth, data):
    arrays = {name: np.asarray(values) for name, values in rating.bins.items()}
    if data.classes <= _MOST_CLASSES:
        known = truth != data.void
        arrays["confusion"] = confusion_matrix(
            rating.classes[known], truth[known], data.classes
        )
    with staging(path) as staged, staged.open("wb") as file:
        np.savez_compressed(file, **arrays)


def carry_out_all(study, trainings, jobs=1):
    """Carries trainings out; yields each when it is finished.

    Args:
        study: `Study`.
        trainings: List of `Training`.
        jobs: Number of trainings at a time; several run in processes of their own,
            each pinned to its share of the cores. Defaults to `1`.
    """
    if jobs == 1:
        for one in trainings:
            carry_out(study, one)
            yield one
        return
    context = multiprocessing.get_context("spawn")
    numbers = context.SimpleQueue()
    for number in range(jobs):
        numbers.put(number)
    # Functions of a task can't be sent to another process; it looks them up by name.
    sent, waiting = study._replace(task=study.task.name), iter(trainings)
    with concurrent.futures.ProcessPoolExecutor(
        jobs, context, _begin_process, (numbers, jobs)
    ) as pool:

        def begin(some):
            return {pool.submit(_in_a_process, sent, one): one for one in some}

        # No more than run at once: what is queued could not be called back.
        running = begin(itertools.islice(waiting, jobs))
        while running:
            done, _ = concurrent.futures.wait(
                running, return_when=concurrent.futures.FIRST_COMPLETED
            )
            for future in done:
                one = running.pop(future)
                future.result()
                running |= begin(itertools.islice(waiting, 1))
                yield one


def _begin_process(numbers, jobs):
    number = numbers.get()
    if hasattr(os, "sched_setaffinity"):  # On Linux.
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cores[number % len(cores) :: jobs])
    training.quieten()
    # Left alone, it would go on beside the same command started again.
    threading.Thread(target=_end_with_the_parent, daemon=True).start()


def _end_with_the_parent():
    multiprocessing.parent_process().join()
    os._exit(1)


def _in_a_process(study, one):
    task = importlib.import_module(f"examples.{study.task}").TASK
    carry_out(study._replace(task=task), one)
