"""The methods that runners train with, by name, and the flags that set them.

Both come from `keras_selfkd.methods` and the constructors: each argument is a flag.
"""

import ast
import inspect
import re

from absl import flags

import keras_selfkd
from examples.runs.unused_flags import used_only
from keras_selfkd import CutMix, Late, Mixup, Ramp, Supervised, losses
from keras_selfkd.export.deployment import load_file
from keras_selfkd.method import Method, arguments_of

METHODS = {
    "supervised": Supervised,
    **{
        name.lower(): getattr(keras_selfkd.methods, name)
        for name in sorted(keras_selfkd.methods.__all__)
    },
}
# What runners do otherwise than the constructors: half the self-teacher's time.
_OWN_DEFAULTS = {"width": "1"}
_MIXINGS = {"none": None, "mixup": Mixup, "cutmix": CutMix}

METHOD = flags.DEFINE_enum(
    "method",
    "frskd",
    list(METHODS),
    "What to train with; by default what was best for the same time "
    "(docs/which_method.md): cskd for classes, frskd for masks.",
)
BASELINE = flags.DEFINE_bool(
    "baseline", True, "First train plainly by the same recipe, to compare with."
)
_LATE = flags.DEFINE_float(
    "late",
    None,
    "Train plainly, and at that cost, up to this share of the epochs.",
    lower_bound=0.0,
    upper_bound=0.99,
)
AVERAGED = flags.DEFINE_bool(
    "averaged",
    False,
    "Test and export the averages that the method keeps of the student's weights, not "
    "the last weights.",
)
_FEATURE_RAMP = flags.DEFINE_enum(
    "feature_ramp",
    "sigmoid",
    ["none", "sigmoid"],
    "sigmoid: where what teaches has to learn first, the weights of distillation rise "
    "from --ramp_start on to the end.",
)
_RAMP_START = flags.DEFINE_float(
    "ramp_start",
    0.0,
    "Share of the training in which a ramped weight is 0.",
    lower_bound=0.0,
    upper_bound=0.99,
)
_MIXING = flags.DEFINE_enum(
    "mixing", "none", list(_MIXINGS), "Mixes images and labels in pairs."
)
_MIXING_ALPHA = flags.DEFINE_float(
    "mixing_alpha", None, "Beta(alpha, alpha); by default the method's or mixing's own."
)


def build_method(name, dense=False, of_data=None):
    """Builds a method as the flags describe it.

    Args:
        name: A key of `METHODS`.
        dense: Boolean, whether the student predicts masks, which decides what the
            paper's defaults are. Defaults to `False`.
        of_data: Dict from argument to value, for arguments without a flag's value:
            what the data say. Defaults to `None`.

    Returns:
        A `keras_selfkd.Method`.

    Raises:
        ValueError: for what a constructor refuses, and a flag that cannot be read.
    """
    create = METHODS[name].for_pixels if dense else METHODS[name]
    of_data = {
        argument: value
        for argument, value in (of_data or {}).items()
        if argument in arguments_of(METHODS[name])
    }
    given = {**of_data, **_given(METHODS[name])}
    # What is ramped and mixed depends on what the method takes by default.
    method = create(**given)
    changes = {**_ramped(method), **_mixed(method)}
    method = create(**{**given, **changes}) if changes else method
    if _LATE.value is None or len(method.loss_weights) == 1:
        return method
    return Late(method, start=_LATE.value)


def warmup_epochs():
    """Returns the epochs of warm-up that the run's method asks for."""
    return METHODS[METHOD.value].warmup_epochs


def methods_to_train():
    """Returns the names of the methods that a run trains, the baseline first."""
    with_baseline = BASELINE.value and METHOD.value != "supervised"
    return ["supervised", METHOD.value] if with_baseline else [METHOD.value]


def take_averages(model):
    """Puts the averages that its method keeps in a trained student, where asked."""
    if AVERAGED.value and _keeps_averages(type(model.method)):
        pairs = zip(
            model.student.variables, model.averaged_student.variables, strict=True
        )
        for variable, average in pairs:
            variable.assign(average)


def check_begins(method, epochs):
    """Refuses --averaged where the method begins after the last epoch.

    Raises:
        ValueError: if so.
    """
    start = getattr(method, "start", 0.0)
    if AVERAGED.value and (epochs - 1) / epochs < start:
        raise ValueError(
            "Expected --averaged only where the method begins: of more --epochs, or "
            f"with an earlier --start. Received: --epochs={epochs}, start={start:.3g}"
        )


def _keeps_averages(kind):
    return kind.averaged_weights is not Method.averaged_weights


def _given(kind):
    """The constructor's arguments whose flags have a value."""
    names = [name for name in arguments_of(kind) if name in _ARGUMENTS]
    values = {name: flags.FLAGS[name].value for name in names}
    return {
        name: _read(name, value) for name, value in values.items() if value is not None
    }


def _read(name, text):
    """A flag's text as the argument `name`: a network, a loss, a list, a number, ..."""
    if name == "teacher":
        return load_file(text, "--teacher")
    if name.endswith("taps"):
        return text.split(",")
    if name == "feature_loss":
        return _loss(text)
    try:
        return ast.literal_eval(text) if isinstance(text, str) else text
    except (SyntaxError, ValueError):
        return text  # The constructor says what it expects.


def _loss(name):
    known = [one for one in losses.__all__ if hasattr(losses, one)]
    known = [one for one in known if hasattr(getattr(losses, one), "default_weight")]
    if name not in known:
        raise ValueError(
            f"Expected --feature_loss to be one of {', '.join(known)}. "
            f"Received: --feature_loss={name}"
        )
    return getattr(losses, name)


def _ramped(method):
    if _FEATURE_RAMP.value == "none":
        return {}
    weights = {
        f"{term}_weight": method.loss_weights.get(term) for term in method.ramped
    }
    start = _RAMP_START.value
    return {n: Ramp(weight, start=start) for n, weight in weights.items() if weight}


def _mixed(method):
    own, alpha = method.mixing, _MIXING_ALPHA.value
    create = _MIXINGS[_MIXING.value] or (type(own) if own else None)
    if create is None:
        if alpha is None:
            return {}
        raise ValueError(
            "Expected --mixing_alpha only with --mixing=mixup|cutmix, or with a method "
            f"that mixes by itself. Received: --mixing_alpha={alpha}"
        )
    if alpha is None and isinstance(own, create):
        return {}
    return {"mixing": create() if alpha is None else create(alpha)}


def _define(name):
    """Defines the flag of a constructor's argument; returns its holder."""
    takers = [kind for kind in METHODS.values() if name in arguments_of(kind)]
    default = inspect.signature(takers[0].__init__).parameters.get(name)
    text = _help(name, takers)
    if default is not None and isinstance(default.default, bool):
        return flags.DEFINE_bool(name, None, text)
    return flags.DEFINE_string(name, _OWN_DEFAULTS.get(name), text)


def _help(name, takers):
    """Who takes an argument, and what the first of their docstrings says of it."""
    names = "|".join(key for key, kind in METHODS.items() if kind in takers)
    return f"[{names}] {_documented(name, takers)}"


def _documented(name, takers):
    for kind in takers:
        found = re.search(
            rf"^    +{name}: (.*?)(?=^    +\w+: |^ *\*\*|^$)",
            kind.__doc__ or "",
            re.MULTILINE | re.DOTALL,
        )
        if found:
            return " ".join(found.group(1).split())
    return f"An argument of {takers[0].__name__}."


# What no text can say, and what another flag says.
_NO_FLAG = ("mixing", "method", "preprocess", "augmentation")

_ARGUMENTS = {
    name: _define(name)
    for name in dict.fromkeys(
        n for kind in METHODS.values() for n in arguments_of(kind)
    )
    if name not in _NO_FLAG
}


def _used_only(flag, condition, also=lambda: True, remedy=""):
    """Says which methods give a flag a use, and what other flags it needs then."""
    names = "|".join(name for name, kind in METHODS.items() if condition(kind))
    remedy = f"with --method={names}{remedy}"
    used_only(flag, lambda: condition(METHODS[METHOD.value]) and also(), remedy)


for _name, _flag in _ARGUMENTS.items():
    _used_only(_flag, lambda kind, name=_name: name in arguments_of(kind))
_used_only(AVERAGED, _keeps_averages)
_used_only(_LATE, lambda kind: kind is not Supervised)
_used_only(_FEATURE_RAMP, lambda kind: kind.ramped)
_used_only(
    _RAMP_START,
    lambda kind: kind.ramped,
    lambda: _FEATURE_RAMP.value != "none",
    " --feature_ramp=sigmoid",
)
