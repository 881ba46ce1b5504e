"""Starting a runner, and a fit that is recorded."""

import pathlib
import signal
import sys

import keras
import tensorflow as tf
from absl import app, logging

from examples.data import inputs
from examples.runs import methods, recipe, tensorboard
from examples.runs.recorder import Recorder
from examples.runs.run import Run
from examples.runs.workers import check_same_epoch
from examples.students import pretrained
from keras_selfkd.checkpoints import Checkpoints
from keras_selfkd.export.litert import import_litert
from keras_selfkd.plots import new_figure

FAST_NOTE = "FAST"

# Of a worker's own doing; others say that another worker is gone.
OWN_ERRORS = (tf.errors.InvalidArgumentError, tf.errors.ResourceExhaustedError)


def start(main):
    """Runs a runner's `main(argv)` without the progress notes of TensorFlow."""

    def quiet(argv):
        quieten()
        try:
            main(argv)
        except KeyboardInterrupt:
            stop("Interrupted.")
        except tf.errors.OpError as error:
            if recipe.STRATEGY.value != "multi_worker" or isinstance(error, OWN_ERRORS):
                raise
            sys.exit(
                "Another worker stopped. Start all workers again with --resume. "
                f"TensorFlow says: {error.message}"
            )

    app.run(quiet, flags_parser=parse)


def quieten():
    """Silences the progress notes of TensorFlow and TFDS."""
    logging.set_verbosity(logging.WARNING)
    logger = tf.get_logger()
    logger.setLevel("WARNING")
    # Each of several students has functions of its own, which are traced for it.
    logger.addFilter(lambda record: "function retracing" not in record.getMessage())


def stop(message):
    """Ends a program that was interrupted, with the exit code that shells expect."""
    print(f"\n{message}", file=sys.stderr)
    sys.exit(128 + signal.SIGINT)


def parse(argv):
    """Parses flags as absl does; a --flagfile that is no text ends the program, too."""
    try:
        return app.parse_flags_with_usage(argv)
    except UnicodeDecodeError as error:
        sys.exit(
            "Expected --flagfile to be text, such as the flags.cfg of an earlier run. "
            f"Received: {' '.join(argv[1:])}. The cause: {error}"
        )


def check_installed():
    """Refuses to start without a package that is needed when all is trained."""
    new_figure(1, 1)
    if recipe.TENSORBOARD.value:
        tensorboard.check_installed()
    if inputs.EXPORT.value:
        import_litert("interpreter")


def open_run(name, module, is_chief=True):
    """Returns the `Run` that the flags ask for, if its directory is to be had.

    Args:
        name: Name of the run, used where `--run_dir` is not given.
        module: Name of the runner's module as absl knows it.
        is_chief: Boolean; workers other than the chief write nothing. Defaults to
            `True`.
    """
    note = FAST_NOTE if recipe.FAST.value else ""
    name = f"{name}-fast" if recipe.FAST.value else name
    path = pathlib.Path(recipe.RUN_DIR.value or f"runs/{name}")
    run = Run(path, note, is_chief)
    if is_chief:
        run.check(**identity(module))
    return run


def claim(run, module):
    """Takes the run's directory, once all flags are known to fit; the chief does."""
    if run.is_chief:
        run.claim(**identity(module))


def identity(module):
    """Returns what makes a run this one, as the arguments of `Run.claim`."""
    path = inputs.WEIGHTS.value
    return {
        "flags": recipe.flags_of(module),
        "resume": recipe.RESUME.value,
        "overwrite": recipe.OVERWRITE.value,
        "defaults": recipe.defaults_of(module),
        "weights": path and pretrained.fingerprint(path),
    }


def fit(model, method, data, run, metric, verbose=None):
    """Trains a compiled model from where its run stands to the last epoch.

    Args:
        model: Compiled `keras.Model`.
        method: Name of the method, for the history and the checkpoints.
        data: `examples.data.prepared.Data`.
        run: `Run` that records every epoch.
        metric: Name of the metric whose largest value is best, for `--best_epoch`.
        verbose: As `--verbose`. Defaults to `None`, the flag's.

    Returns:
        Seconds of all epochs, those before an interruption included.
    """
    verbose = _verbosity() if verbose is None else verbose
    verbose = verbose if run.is_chief else 0
    checkpoints = Checkpoints(run.checkpoints(method))
    recorder = Recorder(run, method, lines=verbose == 2)
    seen = checkpoints.last_epoch if recipe.RESUME.value else 0
    check_same_epoch(seen, run, model.distribute_strategy)
    if seen:
        seen = checkpoints.restore(model)
        check_same_epoch(seen, run, model.distribute_strategy)
    kept = [keras.callbacks.TerminateOnNaN(), recorder, *_best_epoch(metric)]
    model.fit(
        training_data(data, seen, model),
        steps_per_epoch=data.steps_per_epoch,
        validation_data=data.validation,
        initial_epoch=seen,
        epochs=recipe.epochs(),
        callbacks=[*checkpoints.after(kept), *tensorboard.curves(run, method)],
        shuffle=False,  # The data shuffles itself, differently in each epoch.
        verbose=int(verbose == 1),
    )
    methods.take_averages(model)
    return recorder.seconds


def _best_epoch(metric):
    """What puts the weights of the best epoch back at the end, and never stops."""
    if not recipe.BEST_EPOCH.value:
        return []
    return [
        keras.callbacks.EarlyStopping(
            f"val_{metric}",
            mode="max",
            patience=recipe.epochs(),
            restore_best_weights=True,
        )
    ]


def _verbosity():
    if recipe.VERBOSE.value is None:
        return 1 if sys.stdout.isatty() else 2
    return recipe.VERBOSE.value


def training_data(data, seen, model):
    """Returns the batches from an epoch on; each of several workers makes its own."""
    needs = getattr(getattr(model, "method", None), "needs", ())
    if recipe.STRATEGY.value != "multi_worker":
        return data.train(seen, needs=needs)
    return model.distribute_strategy.distribute_datasets_from_function(
        lambda context: data.train(seen, context, needs=needs)
    )
