"""What every runner shares: the flags of its recipe, and a fit that is recorded."""

import pathlib
import re
import signal
import sys

import keras
import tensorflow as tf
from absl import app, flags, logging

from examples.data import inputs
from examples.runs import methods
from examples.runs.optimizers import RATES, build_optimizer, learning_rate_schedule
from examples.runs.recorder import Recorder
from examples.results.results import check_same_size
from examples.runs.runs import Run
from examples.runs.unused_flags import refuse_unused, used_only
from keras_selfkd.checkpoints import Checkpoints
from keras_selfkd.distributed.strategies import strategy_by_name
from keras_selfkd.export.litert import import_litert
from keras_selfkd.plots import new_figure

FAST_NOTE = "FAST"
FAST_EPOCHS = 2

# Of a worker's own doing; others say that another worker is gone.
OWN_ERRORS = (tf.errors.InvalidArgumentError, tf.errors.ResourceExhaustedError)

EPOCHS = flags.DEFINE_integer("epochs", 40, "Passes over the data.", lower_bound=1)
BATCH_SIZE = flags.DEFINE_integer(
    "batch_size", 32, "Images of a step, all replicas together.", lower_bound=1
)
OPTIMIZER = flags.DEFINE_enum("optimizer", "sgd", list(RATES), "What takes the steps.")
LEARNING_RATE = flags.DEFINE_float(
    "learning_rate",
    None,
    f"Highest learning rate; by default {RATES['sgd'].learning_rate} with sgd, "
    f"{RATES['adamw'].learning_rate} with adamw.",
    lower_bound=0.0,
)
SCHEDULE = flags.DEFINE_enum(
    "schedule",
    "cosine",
    ["constant", "cosine", "step"],
    "Learning rate over time; step: a tenth after each of --drops.",
)
DROPS = flags.DEFINE_list(
    "drops", ["0.5", "0.75"], "step: shares of the training after which it drops."
)
WARMUP_EPOCHS = flags.DEFINE_integer(
    "warmup_epochs",
    None,
    "Epochs of linear rise to the learning rate; by default what the method asks for, "
    "in at most half of the training, and the same for the baseline.",
    lower_bound=0,
)
MOMENTUM = flags.DEFINE_float(
    "momentum", None, "Momentum of SGD; by default 0.9.", lower_bound=0.0
)
NESTEROV = flags.DEFINE_bool("nesterov", False, "Nesterov momentum, of SGD.")
WEIGHT_DECAY = flags.DEFINE_float(
    "weight_decay",
    None,
    f"Of all weights; sgd: L2 added to the gradients, {RATES['sgd'].weight_decay} by "
    f"default; adamw: decoupled, {RATES['adamw'].weight_decay}.",
    lower_bound=0.0,
)
CLIPVALUE = flags.DEFINE_float(
    "clipvalue", None, "Largest absolute value of a gradient's entry.", lower_bound=0.0
)
ACCUMULATION = flags.DEFINE_integer(
    "gradient_accumulation_steps", 1, "Batches of one update.", lower_bound=1
)
SEED = flags.DEFINE_integer("seed", 0, "Decides first weights, order and crops.")
MIXED_PRECISION = flags.DEFINE_enum(
    "mixed_precision",
    "float32",
    ["float32", "mixed_bfloat16", "mixed_float16"],
    "Keras dtype policy of the training; exported files are float32.",
)
STRATEGY = flags.DEFINE_enum(
    "strategy",
    "none",
    ["none", "mirrored", "multi_worker"],
    "Training on one device, all of this machine's, or those in TF_CONFIG.",
)
SYNCHRONIZE_BATCH_NORM = flags.DEFINE_bool(
    "synchronize_batch_norm",
    True,
    "With a strategy: the student's BatchNorm statistics span all replicas.",
)
STEPS_PER_EXECUTION = flags.DEFINE_integer(
    "steps_per_execution", 1, "Steps of one call into TensorFlow.", lower_bound=1
)
RUN_DIR = flags.DEFINE_string(
    "run_dir", None, "Directory of all that is written; by default under runs/."
)
RESUME = flags.DEFINE_bool(
    "resume", False, "Go on after the last whole epoch of an interrupted run."
)
OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace an earlier run.")
FAST = flags.DEFINE_bool(
    "fast", False, f"Few images and {FAST_EPOCHS} epochs through the same path."
)
VERBOSE = flags.DEFINE_integer(
    "verbose",
    None,
    "0: silent, 1: progress bars, 2: one line an epoch; by default 1 on a terminal, "
    "else 2.",
)

flags.register_validator(
    DROPS.name,
    lambda drops: all(re.fullmatch(r"0?\.\d+", share) for share in drops),
    "Expected shares of the training in (0, 1), such as --drops=0.5,0.75.",
)
used_only(DROPS, lambda: SCHEDULE.value == "step", "with --schedule=step")
used_only(
    SYNCHRONIZE_BATCH_NORM,
    lambda: STRATEGY.value != "none",
    "with --strategy=mirrored|multi_worker",
)


def start(main):
    """Runs a runner's `main(argv)` without the progress notes of TensorFlow."""

    def quiet(argv):
        logging.set_verbosity(logging.WARNING)
        tf.get_logger().setLevel("WARNING")
        try:
            main(argv)
        except KeyboardInterrupt:
            stop("Interrupted.")
        except tf.errors.OpError as error:
            if STRATEGY.value != "multi_worker" or isinstance(error, OWN_ERRORS):
                raise
            sys.exit(
                "Another worker stopped. Start all workers again with --resume. "
                f"TensorFlow says: {error.message}"
            )

    app.run(quiet, flags_parser=parse)


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


def set_defaults(**values):
    """Gives flags another default than the one that `--help` shows.

    A `learning_rate` is SGD's; other optimizers keep their own.
    """
    if OPTIMIZER.value != "sgd":
        values.pop("learning_rate", None)
    for name, value in values.items():
        flags.FLAGS.set_default(name, value)


def carry_out(program, prepare, build, conclude, report):
    """Trains by every method of the run, concludes, and prints the report.

    Args:
        program: Name of the runner, for its messages.
        prepare: Function that returns data, strategy and `Run`; its errors are the
            user's.
        build: Function `(method, data, strategy)` that returns a compiled model.
        conclude: Function `(trained, data, run)` that writes all but the history;
            `trained` is a dict from method to its model and the seconds it took.
        report: Function from the run's path to what is printed at the end.
    """
    try:
        refuse_unused()
        check_installed()
        data, strategy, run = prepare()
    except (ValueError, ImportError, OSError) as error:
        sys.exit(f"{program}: {error}")
    try:
        _carry_out(data, strategy, run, build, conclude)
    except KeyboardInterrupt:
        stop(
            "Interrupted. The same command with --resume goes on after the last whole "
            f"epoch of {run.path}."
        )
    if run.is_chief:
        print(f"\n{report(run.path)}")


def _carry_out(data, strategy, run, build, conclude):
    finished = RESUME.value and run.finished
    if not any(every_workers(int(finished), strategy)):
        trained = {}
        for method in methods.methods_to_train():
            model = build(method, data, strategy)
            if run.is_chief:
                name = model.student.name
                print(f"\nTraining {name} with {method}, {epochs()} epochs")
                print(f"Tracing {method} ...", flush=True)
            trained[method] = model, fit(model, method, data, run)
        if run.is_chief:
            conclude(trained, data, run)
        # The others wait until the chief has written all, and fail if it fails.
        every_workers(1, strategy)
    run.discard_checkpoints()


def check_installed():
    """Refuses to start without a package that is needed when all is trained."""
    new_figure(1, 1)
    if inputs.EXPORT.value:
        import_litert("interpreter")


def epochs():
    """Returns the number of epochs, which `--fast` limits."""
    return min(EPOCHS.value, FAST_EPOCHS) if FAST.value else EPOCHS.value


def open_strategy():
    """Returns the strategy of `--strategy`.

    Raises:
        ValueError: If its workers cannot share the batches evenly, or `TF_CONFIG` is
            wrong.
        ConnectionError: If a worker does not come.
    """
    strategy = strategy_by_name(STRATEGY.value)
    replicas = strategy.num_replicas_in_sync
    if STRATEGY.value == "multi_worker" and BATCH_SIZE.value % replicas:
        raise ValueError(
            f"Expected --batch_size to be a multiple of the {replicas} replicas. "
            f"Received: --batch_size={BATCH_SIZE.value}"
        )
    return strategy


def every_workers(number, strategy):
    """Returns an integer of all workers, by worker; each waits for the others."""
    if STRATEGY.value != "multi_worker":
        return [number]
    local = strategy.run(lambda: tf.constant([number]))
    return strategy.gather(local, axis=0).numpy().tolist()


def check_same_epoch(seen, run, strategy):
    """Ends a worker whose files are not those that the other workers see."""
    epochs_seen = every_workers(seen, strategy)
    if len(set(epochs_seen)) > 1:
        sys.exit(
            "All workers must find the same checkpoints: --run_dir must lie on storage "
            f"that they share. Received: {run.path}, where the workers find epochs "
            f"{epochs_seen}"
        )


def compare(trained, run, ship):
    """Ships the student of every method.

    Args:
        trained: Dict from method to its model and the seconds it took.
        run: `Run`, whose own method's student is `student.keras`.
        ship: Function `(student, path)` that writes a student and returns its score
            and what it predicts.

    Returns:
        Two dicts from method: its score, and what its student predicts.
    """
    scores, predicted = {}, {}
    for method, (model, seconds) in trained.items():
        name = "student" if method == methods.METHOD.value else "baseline"
        path = run.path / f"{name}.keras"
        scores[method], predicted[method] = ship(model.student, path)
        scores[method]["seconds"] = seconds
    check_same_size(scores)
    return scores, predicted


def accumulation():
    """Returns the batches of one update; `--fast` has too few to accumulate."""
    return 1 if FAST.value else ACCUMULATION.value


def updates(steps_per_epoch):
    """Returns the number of optimizer updates of the whole training.

    Raises:
        ValueError: If there are not enough batches for one.
    """
    count = epochs() * steps_per_epoch // accumulation()
    if not count:
        raise ValueError(
            "Expected at least one update. Received: --gradient_accumulation_steps="
            f"{accumulation()} for {epochs() * steps_per_epoch} batches in all"
        )
    return count


def warmup_epochs():
    """Returns the epochs of warm-up: those of the flag, or what the method asks for."""
    epochs_of_warmup = WARMUP_EPOCHS.value
    if epochs_of_warmup is None:
        epochs_of_warmup = min(methods.warmup_epochs(), epochs() // 2)
    return min(epochs_of_warmup, 1) if FAST.value else epochs_of_warmup


def rates():
    """Returns the learning rate and the weight decay, as `examples.runs.optimizers.Rates`.

    What is not given is the optimizer's own.
    """
    given = {"learning_rate": LEARNING_RATE.value, "weight_decay": WEIGHT_DECAY.value}
    return RATES[OPTIMIZER.value]._replace(
        **{name: value for name, value in given.items() if value is not None}
    )


def optimizer(steps_per_epoch):
    """Returns the optimizer of the recipe, with a learning-rate schedule."""
    peak, weight_decay = rates()
    rate = learning_rate_schedule(
        SCHEDULE.value,
        peak=peak,
        steps=updates(steps_per_epoch),
        warmup_steps=warmup_epochs() * steps_per_epoch // accumulation(),
        drops=[float(share) for share in DROPS.value],
    )
    return build_optimizer(
        OPTIMIZER.value,
        rate,
        weight_decay,
        momentum=MOMENTUM.value,
        nesterov=NESTEROV.value,
        clipvalue=CLIPVALUE.value,
        gradient_accumulation_steps=accumulation() if accumulation() > 1 else None,
    )


def open_run(name, module, is_chief=True):
    """Returns the `Run` that the flags ask for, its directory claimed by the chief.

    Args:
        name: Name of the run, used where `--run_dir` is not given.
        module: Name of the runner's module as absl knows it.
        is_chief: Boolean; workers other than the chief write nothing. Defaults to
            `True`.
    """
    note = FAST_NOTE if FAST.value else ""
    name = f"{name}-fast" if FAST.value else name
    path = pathlib.Path(RUN_DIR.value or f"runs/{name}")
    run = Run(path, note, is_chief)
    if is_chief:
        run.claim(recipe(module), RESUME.value, OVERWRITE.value)
    return run


def recipe(module):
    """Returns a runner's flags in command-line form, all but where it writes."""
    places = (RUN_DIR.name, RESUME.name, OVERWRITE.name)
    settings = flags.FLAGS.get_key_flags_for_module(module)
    lines = (flag.serialize() for flag in settings if flag.name not in places)
    return sorted(line for line in lines if line)


def fit(model, method, data, run):
    """Trains a compiled model from where its run stands to the last epoch.

    Args:
        model: Compiled `keras.Model`.
        method: Name of the method, for the history and the checkpoints.
        data: `examples.data.data.Data`.
        run: `Run` that records every epoch.

    Returns:
        Seconds of all epochs, those before an interruption included.
    """
    verbose = _verbosity() if run.is_chief else 0
    checkpoints = Checkpoints(run.checkpoints(method))
    recorder = Recorder(run, method, lines=verbose == 2)
    seen = checkpoints.last_epoch if RESUME.value else 0
    check_same_epoch(seen, run, model.distribute_strategy)
    if seen:
        seen = checkpoints.restore(model)
        check_same_epoch(seen, run, model.distribute_strategy)
    model.fit(
        training_data(data, seen, model.distribute_strategy),
        steps_per_epoch=data.steps_per_epoch,
        validation_data=data.validation,
        initial_epoch=seen,
        epochs=epochs(),
        callbacks=checkpoints.after([keras.callbacks.TerminateOnNaN(), recorder]),
        shuffle=False,  # The data shuffles itself, differently in each epoch.
        verbose=int(verbose == 1),
    )
    return recorder.seconds


def _verbosity():
    if VERBOSE.value is None:
        return 1 if sys.stdout.isatty() else 2
    return VERBOSE.value


def training_data(data, seen, strategy):
    """Returns the batches from an epoch on; each of several workers makes its own."""
    if STRATEGY.value != "multi_worker":
        return data.train(seen)
    return strategy.distribute_datasets_from_function(
        lambda context: data.train(seen, context)
    )
