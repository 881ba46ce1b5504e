"""The flags of a recipe, and what follows from them."""

import contextlib
import re

from absl import flags
from absl.testing import flagsaver

from examples.data import inputs
from examples.runs import methods
from examples.runs.optimizers import RATES, build_optimizer, learning_rate_schedule
from examples.runs.unused_flags import used_only

FAST_EPOCHS = 2

EPOCHS = flags.DEFINE_integer("epochs", 40, "Passes over the data.", lower_bound=1)
BASELINE_EPOCHS = flags.DEFINE_integer(
    "baseline_epochs",
    None,
    "Epochs of the baseline; by default as many as the method's. With as many as take "
    "the method's time the two compare at equal time.",
    lower_bound=1,
)
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
BACKBONE_RATE = flags.DEFINE_float(
    "backbone_rate",
    1.0,
    "Share of the learning rate at which the student's layers before its head train, "
    "all of which --weights gives.",
    lower_bound=0.0,
    upper_bound=1.0,
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
BEST_EPOCH = flags.DEFINE_bool(
    "best_epoch",
    False,
    "Keep the weights of the epoch that was best on the validation images, not the "
    "last.",
)
TENSORBOARD = flags.DEFINE_bool(
    "tensorboard", False, "Write curves and pictures for TensorBoard, too."
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
used_only(
    BASELINE_EPOCHS,
    lambda: len(methods.methods_to_train()) > 1,
    "beside a baseline: without --nobaseline and --method=supervised",
)
used_only(
    BACKBONE_RATE, lambda: inputs.WEIGHTS.value, "with --weights of a trained network"
)
used_only(BEST_EPOCH, lambda: not methods.AVERAGED.value, "with --noaveraged")
used_only(DROPS, lambda: SCHEDULE.value == "step", "with --schedule=step")
used_only(
    SYNCHRONIZE_BATCH_NORM,
    lambda: STRATEGY.value != "none",
    "with --strategy=mirrored|multi_worker",
)


def set_defaults(**values):
    """Gives flags another default than the one that `--help` shows.

    A `learning_rate` is SGD's; other optimizers keep their own.
    """
    if OPTIMIZER.value != "sgd":
        values.pop("learning_rate", None)
    for name, value in values.items():
        flags.FLAGS.set_default(name, value)


def epochs():
    """Returns the number of epochs, which `--fast` limits."""
    return min(EPOCHS.value, FAST_EPOCHS) if FAST.value else EPOCHS.value


@contextlib.contextmanager
def epochs_of(method):
    """Inside, the epochs are those of one of the run's methods."""
    epochs_given = EPOCHS.value
    if BASELINE_EPOCHS.value and method != methods.METHOD.value:
        epochs_given = BASELINE_EPOCHS.value
    with flagsaver.flagsaver((EPOCHS, epochs_given)):
        yield


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
    """Returns the learning rate and the weight decay, as `optimizers.Rates`.

    What is not given is the optimizer's own.
    """
    given = {"learning_rate": LEARNING_RATE.value, "weight_decay": WEIGHT_DECAY.value}
    return RATES[OPTIMIZER.value]._replace(
        **{name: value for name, value in given.items() if value is not None}
    )


def optimizer(steps_per_epoch, backbone=()):
    """Returns the optimizer of the recipe, with a learning-rate schedule.

    Args:
        steps_per_epoch: Integer.
        backbone: Paths of the variables that train at `--backbone_rate`. Defaults to
            none.
    """
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
        slow_variables=backbone,
        slow_rate=BACKBONE_RATE.value,
    )


def flags_of(module):
    """Returns a runner's flags in command-line form, all but where it writes."""
    lines = (flag.serialize() for flag in _settings(module))
    return sorted(line for line in lines if line)


def defaults_of(module):
    """Returns those of `flags_of` that a run gets without naming them."""
    usual = (flag for flag in _settings(module) if flag.value == flag.default)
    return [line for flag in usual if (line := flag.serialize())]


def _settings(module):
    places = (RUN_DIR.name, RESUME.name, OVERWRITE.name)
    settings = flags.FLAGS.get_key_flags_for_module(module)
    return [flag for flag in settings if flag.name not in places]
