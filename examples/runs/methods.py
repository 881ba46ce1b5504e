"""The methods that runners train with, by name, and the flags that set them."""

import functools
from collections.abc import Callable
from typing import NamedTuple

from absl import flags

from examples.runs.unused_flags import used_only
from keras_selfkd import (
    FRSKD,
    FRSKD_SLA,
    NFD,
    CutMix,
    EveryKSteps,
    MixSKD,
    Mixup,
    SigmoidRampUp,
    Supervised,
    losses,
)
from keras_selfkd.export.deployment import load_file
from keras_selfkd.method import arguments_of

_SOFT_LABEL_WEIGHT = flags.DEFINE_float(
    "soft_label_weight",
    None,
    "Weight of the teacher's labels; by default 2, for masks and mixskd 1, with nfd 0.",
    lower_bound=0.0,
)
_FEATURE_WEIGHT = flags.DEFINE_float(
    "feature_weight",
    None,
    "Weight of the feature loss; by default that loss's own, for masks 50 of attention "
    "transfer, with mixskd 1; fitnet_hint has no default.",
    lower_bound=0.0,
)
_FEATURE_RAMP = flags.DEFINE_enum(
    "feature_ramp",
    "sigmoid",
    ["none", "sigmoid"],
    "sigmoid: both distillation weights rise from --ramp_start on to the end; never "
    "those of mixskd.",
)
_RAMP_START = flags.DEFINE_float(
    "ramp_start",
    0.0,
    "Share of the training in which a ramped weight is 0.",
    lower_bound=0.0,
    upper_bound=0.99,
)
_FEATURE_LOSS = flags.DEFINE_enum(
    "feature_loss",
    "attention_transfer",
    ["attention_transfer", "fitnet_hint", "normalized_mse"],
    "What feature maps are compared by.",
)
_TEMPERATURE = flags.DEFINE_float(
    "temperature",
    None,
    "Softens compared labels; by default 4, for masks 1, with mixskd 3.",
)
_WIDTH = flags.DEFINE_integer(
    "width", 1, "Channels of the self-teacher as a multiple of the student's; paper: 2."
)
_DEPTH = flags.DEFINE_integer(
    "depth", 2, "Separable convolutions after each fusion.", lower_bound=1
)
_REPEATS = flags.DEFINE_integer(
    "repeats", 1, "Stacked pyramids of the self-teacher.", lower_bound=1
)
_CHANNELS = flags.DEFINE_integer(
    "channels", None, "Channels of the self-teacher, the same at each level."
)
_TEACHER = flags.DEFINE_string(
    "teacher", None, "nfd: a trained model's .keras file; by default the self-teacher."
)
_TEACHER_TAPS = flags.DEFINE_list(
    "teacher_taps", None, "Layers of --teacher to learn from, fine to coarse."
)
_MIXING = flags.DEFINE_enum(
    "mixing", "none", ["none", "mixup", "cutmix"], "Mixes images and labels in pairs."
)
_MIXING_ALPHA = flags.DEFINE_float(
    "mixing_alpha",
    None,
    "Beta(alpha, alpha); by default Mixup 0.2, CutMix 1, mixskd 0.4.",
)
_ADVERSARIAL = flags.DEFINE_bool(
    "adversarial", True, "mixskd: train discriminators, and maps to deceive them."
)
_EVERY_K_STEPS = flags.DEFINE_integer(
    "every_k_steps",
    1,
    "Distil in every k-th step alone; those between are plain training.",
    lower_bound=1,
)


class Defaults(NamedTuple):
    """What a flag that is not given means, for one kind of student."""

    soft_label_weight: float
    attention_weight: float
    temperature: float


CLASSES = Defaults(soft_label_weight=2.0, attention_weight=100.0, temperature=4.0)
MASKS = Defaults(soft_label_weight=1.0, attention_weight=50.0, temperature=1.0)


def build_method(name, steps, dense=False):
    """Builds a method as the flags describe it.

    Args:
        name: A key of `METHODS`.
        steps: Number of optimizer steps of the whole training.
        dense: Boolean, whether the student predicts masks, which decides what the
            paper's defaults are. Defaults to `False`.

    Returns:
        A `keras_selfkd.Method`.

    Raises:
        ValueError: If `--teacher` is no model's file.
    """
    method = METHODS[name].build(steps, MASKS if dense else CLASSES)
    if not METHODS[name].distils or _EVERY_K_STEPS.value == 1:
        return method
    return EveryKSteps(method, k=_EVERY_K_STEPS.value)


def _supervised(steps, defaults):
    return Supervised(mixing=_mixing())


def _frskd(steps, defaults, create=FRSKD):
    feature_loss = getattr(losses, _FEATURE_LOSS.value)
    weight = feature_loss.default_weight
    if feature_loss is losses.attention_transfer:
        weight = defaults.attention_weight
    return create(
        soft_label_weight=_ramped(
            _given(_SOFT_LABEL_WEIGHT, defaults.soft_label_weight), steps
        ),
        feature_weight=_ramped(_given(_FEATURE_WEIGHT, weight), steps),
        temperature=_given(_TEMPERATURE, defaults.temperature),
        feature_loss=feature_loss,
        mixing=_mixing(),
        **_sizes(),
    )


def _sizes():
    return {flag.name: flag.value for flag in (_WIDTH, _DEPTH, _REPEATS, _CHANNELS)}


def _nfd(steps, defaults):
    weight = losses.normalized_mse.default_weight
    return NFD(
        teacher=load_file(_TEACHER.value, "--teacher") if _TEACHER.value else None,
        teacher_taps=_TEACHER_TAPS.value,
        feature_weight=_ramped(_given(_FEATURE_WEIGHT, weight), steps),
        soft_label_weight=_ramped(_given(_SOFT_LABEL_WEIGHT, 0.0), steps),
        temperature=_given(_TEMPERATURE, defaults.temperature),
        mixing=_mixing(),
        **_sizes(),
    )


def _mixskd(steps, defaults):
    mixing = None if _MIXING.value == "mixup" else _mixing()
    return MixSKD(
        feature_weight=_given(_FEATURE_WEIGHT, 1.0),
        soft_label_weight=_given(_SOFT_LABEL_WEIGHT, 1.0),
        temperature=_given(_TEMPERATURE, 3.0),
        adversarial=_ADVERSARIAL.value,
        mixing=mixing or Mixup(_given(_MIXING_ALPHA, 0.4)),
    )


def _given(flag, default):
    return default if flag.value is None else flag.value


def _ramped(weight, steps):
    if not weight or _FEATURE_RAMP.value == "none":
        return weight
    return SigmoidRampUp(int(_RAMP_START.value * steps), steps, peak=weight)


def _mixing():
    if _MIXING.value == "none":
        return None
    create = {"mixup": Mixup, "cutmix": CutMix}[_MIXING.value]
    return create(_MIXING_ALPHA.value) if _MIXING_ALPHA.value else create()


class Choice(NamedTuple):
    """A method to train with, whose arguments decide which flags have a use."""

    create: type
    build: Callable  # Of the number of steps and the `Defaults`.
    distils: bool = True
    ramps: bool = True  # Whether --feature_ramp holds for it.
    mixes: bool = False  # Whether it does so without --mixing, too.


METHODS = {
    "supervised": Choice(Supervised, _supervised, distils=False, ramps=False),
    "frskd": Choice(FRSKD, _frskd),
    "frskd_sla": Choice(FRSKD_SLA, functools.partial(_frskd, create=FRSKD_SLA)),
    "mixskd": Choice(MixSKD, _mixskd, ramps=False, mixes=True),
    "nfd": Choice(NFD, _nfd),
}

METHOD = flags.DEFINE_enum("method", "frskd", list(METHODS), "What to train with.")
BASELINE = flags.DEFINE_bool(
    "baseline", True, "First train plainly by the same recipe, to compare with."
)


def warmup_epochs():
    """Returns the epochs of warm-up that the run's method asks for."""
    return METHODS[METHOD.value].create.warmup_epochs


def _used_only(flag, condition, also=lambda: True, remedy=""):
    """Says which methods give a flag a use, and what other flags it needs then."""
    names = "|".join(name for name in METHODS if condition(METHODS[name]))
    remedy = f"with --method={names}{remedy}"
    used_only(flag, lambda: condition(METHODS[METHOD.value]) and also(), remedy)


for _flag in flags.FLAGS.get_key_flags_for_module(__name__):
    if any(_flag.name in arguments_of(choice.create) for choice in METHODS.values()):
        _used_only(_flag, lambda m, name=_flag.name: name in arguments_of(m.create))
for _flag in (_WIDTH, _DEPTH, _REPEATS, _CHANNELS):
    used_only(_flag, lambda: not _TEACHER.value, "without --teacher")
_used_only(_EVERY_K_STEPS, lambda m: m.distils)
_used_only(_FEATURE_RAMP, lambda m: m.ramps)
_used_only(
    _RAMP_START,
    lambda m: m.ramps,
    lambda: _FEATURE_RAMP.value != "none",
    " --feature_ramp=sigmoid",
)
used_only(
    _MIXING_ALPHA,
    lambda: _MIXING.value != "none" or METHODS[METHOD.value].mixes,
    "with --mixing=mixup|cutmix, or where a method mixes by itself",
)


def methods_to_train():
    """Returns the names of the methods that a run trains, the baseline first."""
    with_baseline = BASELINE.value and METHOD.value != "supervised"
    return ["supervised", METHOD.value] if with_baseline else [METHOD.value]
