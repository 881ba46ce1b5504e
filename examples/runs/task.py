"""A task of a runner, classes or masks, and a run of it from flags to report."""

import sys
from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from absl import flags

from examples.data import inputs
from examples.results import class_results
from examples.runs import (
    methods,
    plan,
    recipe,
    start,
    tensorboard,
    training,
    workers,
)
from examples.runs.unused_flags import refuse_unused
from keras_selfkd import SelfDistillationModel, synchronize_batch_norm
from keras_selfkd.batch_norm import limit_batch_norm_momentum
from keras_selfkd.export.student import export_saved_model, export_student
from keras_selfkd.files import staging, write_json


class Task(NamedTuple):
    """What differs between runners.

    Attributes:
        name: The runner's, for its messages.
        own_flag: Name of a flag that the runner itself defines.
        default_student: Function without arguments that returns the name of the student
            without `--student`.
        build_student: Function `(name, image_shape, outputs)` that returns a network.
        outputs: Function from data to the number of the student's logits.
        dense: Whether it predicts masks.
        defaults: Dict from flag to the default that differs from the one in `--help`.
        metric: Name of the metric and of the score that say how good a student is.
        per_class: Name of the score that has a number for each class.
        load: Function that returns the data which the flags name.
        objective: Function from data to the loss and metrics of `compile`.
        rate: Function `(student, data, truth)` that returns a
            `class_results.Rating`.
        rate_litert: Function `(path, data, truth, predicted)` that returns what a file
            scores, beside what Keras predicted.
        draw: Function `(run, model, data, truth, predicted)` that draws pictures.
        facts: Function `(run, data, scores, truth)` that returns what else stands in
            `result.json`.
        report: Function from the run's path to what is printed at the end.
    """

    name: str
    own_flag: str
    default_student: Callable
    build_student: Callable
    outputs: Callable
    dense: bool
    defaults: dict
    metric: str
    per_class: str
    load: Callable
    objective: Callable
    rate: Callable
    rate_litert: Callable
    draw: Callable
    facts: Callable
    report: Callable


def student_name(task):
    """Returns the student's name, of `--student` or the default."""
    return inputs.STUDENT.value or task.default_student()


def module_of(task):
    """Returns the name of a task's module, as absl knows it."""
    return flags.FLAGS.find_module_defining_flag(task.own_flag)


_LOADED = {}  # The data that were loaded last, by the flags that name them.


def loaded(task):
    """Returns the data that the flags name, from memory where they were the last.

    Raises:
        ValueError: If they can't be loaded, or lack what the flags need of them.
    """
    key = (task.name, *_data_flags(task))
    if key not in _LOADED:
        _LOADED.clear()  # Not two in memory.
        _LOADED[key] = task.load()
    data = _LOADED[key]
    if recipe.BEST_EPOCH.value and data.validation is None:
        raise ValueError(
            "Expected validation images for --best_epoch, which must not choose on "
            f"test images. Received: {data.name} with {sorted(data.examples)}"
        )
    return data


def _data_flags(task):
    """All flags of a runner but those that say how to train on the data."""
    of_module = flags.FLAGS.get_key_flags_for_module
    how = {flag.name for module in (recipe, methods) for flag in of_module(module)}
    how |= {inputs.STUDENT.name, inputs.TAPS.name, inputs.EXPORT.name}
    how |= {inputs.WEIGHTS.name, inputs.FREEZE_UNTIL.name}
    how -= {recipe.SEED.name, recipe.BATCH_SIZE.name, recipe.FAST.name}
    every = of_module(module_of(task))
    return sorted(flag.serialize() for flag in every if flag.name not in how)


def build(task, method, data, strategy):
    """Returns a compiled model; every method starts from the same student weights."""
    start.read_ahead()
    keras.utils.clear_session()
    keras.config.set_dtype_policy(recipe.MIXED_PRECISION.value)
    keras.utils.set_random_seed(recipe.SEED.value)
    with strategy.scope():
        student = task.build_student(
            student_name(task), data.image_shape, task.outputs(data)
        )
        start.begin(student, data.label_names)
        limit_batch_norm_momentum(student, recipe.epochs() * data.steps_per_epoch)
        if tf.distribute.has_strategy() and recipe.SYNCHRONIZE_BATCH_NORM.value:
            synchronize_batch_norm(student)
        of_data = {"examples": data.examples["train"]}
        method = methods.build_method(method, task.dense, of_data)
        methods.check_begins(method, recipe.epochs())
        model = SelfDistillationModel(student, method, taps=inputs.TAPS.value)
        slow = start.slow_variables(student)
        model.compile(
            optimizer=recipe.optimizer(data.steps_per_epoch, slow),
            steps_per_execution=recipe.STEPS_PER_EXECUTION.value,
            **task.objective(data),
        )
    return model


def prepare(task):
    """Reads the data and claims the run directory, once all flags are known to fit.

    Returns:
        Data, strategy and `Run`.
    """
    strategy = workers.open_strategy()
    data = loaded(task)
    student = student_name(task).replace(":", "_")
    name = f"{data.name}-{student}-{methods.METHOD.value}-{recipe.SEED.value}"
    is_chief = strategy.extended.should_checkpoint
    run = training.open_run(name, module_of(task), is_chief)
    model = build(task, methods.METHOD.value, data, strategy)
    data.train(needs=model.method.needs)  # What cannot be is refused now.
    training.claim(run, module_of(task))
    if run.is_chief and not (recipe.RESUME.value and run.finished):
        plan.show(data, model)
    return data, strategy, run


def carry_out(task, argv):
    """Trains by every method of the run, concludes, and prints the report."""
    if argv[1:]:
        sys.exit(f"Expected flags only. Received: {' '.join(argv[1:])}")
    recipe.set_defaults(**task.defaults)
    try:
        refuse_unused()
        training.check_installed()
        data, strategy, run = prepare(task)
    except (ValueError, ImportError, OSError) as error:
        sys.exit(f"{task.name}: {error}")
    try:
        _train_all(task, data, strategy, run)
    except KeyboardInterrupt:
        training.stop(
            "Interrupted. The same command with --resume goes on after the last whole "
            f"epoch of {run.path}."
        )
    if run.is_chief:
        print(f"\n{task.report(run.path)}")


def _train_all(task, data, strategy, run):
    finished = recipe.RESUME.value and run.finished
    if not any(workers.every_workers(int(finished), strategy)):
        trained = {}
        for method in methods.methods_to_train():
            with recipe.epochs_of(method):
                trained[method] = _train(task, method, data, strategy, run)
        if run.is_chief:
            conclude(task, trained, data, run)
        # The others wait until the chief has written all, and fail if it fails.
        workers.every_workers(1, strategy)
    run.discard_checkpoints()


def _train(task, method, data, strategy, run):
    """Trains by one of the run's methods; returns the model and the seconds it took."""
    model = build(task, method, data, strategy)
    if run.is_chief:
        epochs = plan.counted(recipe.epochs(), "epoch")
        print(f"\nTraining {model.student.name} with {method}, {epochs}")
        print(f"Tracing {method} ...", flush=True)
    return model, training.fit(model, method, data, run, task.metric)


def conclude(task, trained, data, run):
    """Compares what was trained on the test set and writes all but the history.

    Args:
        task: `Task`.
        trained: Dict from method to its model and the seconds it took.
        data: `examples.data.prepared.Data`.
        run: `Run`, whose own method's student becomes `student.keras`.
    """
    truth = np.concatenate([labels for _, labels in data.test])
    scores, predicted = {}, {}
    for method, (model, seconds) in trained.items():
        name = "student" if method == methods.METHOD.value else "baseline"
        path = run.path / f"{name}.keras"
        rating = ship(task, model.student, path, data, truth)
        scores[method] = rating.score | {"seconds": seconds}
        predicted[method] = rating.predicted
    class_results.check_same_size(scores)
    model, _ = trained[methods.METHOD.value]
    task.draw(run, model, data, truth, predicted)
    tensorboard.pictures(run.path)
    result = class_results.facts(data, student_name(task), run) | {
        "epochs": recipe.epochs(),
        "seed": recipe.SEED.value,
        "scores": scores,
        **task.facts(run, data, scores, truth),
    }
    if inputs.EXPORT.value:
        export_saved_model(run.path / "student.keras", run.path / "saved_model")
        file = run.path / "student.tflite"
        result["litert"] = task.rate_litert(
            file, data, truth, predicted[methods.METHOD.value]
        )
    write_json(run.path / "result.json", result)


def ship(task, student, path, data, truth):
    """Saves a student, then rates and exports what the file holds.

    Args:
        task: `Task`.
        student: Trained Keras model.
        path: Path of the `.keras` file; a LiteRT file gets the same name.
        data: `examples.data.prepared.Data`.
        truth: Array of the test set's labels or masks.

    Returns:
        `Rating` of what the file holds on the test set.
    """
    with staging(path) as staged:
        student.save(staged)
    student = keras.models.load_model(path)
    rating = task.rate(student, data, truth)
    rating.score["parameters"] = student.count_params()
    if inputs.EXPORT.value:
        rating.score["bytes"] = export_student(
            student,
            path.with_suffix(".tflite"),
            representative_data=data.test,
            labels=data.label_names,
            normalization=(data.mean, data.std),
        ).bytes
    return rating
