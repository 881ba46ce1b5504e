"""The methods that runners train with, by name, and the flags that set them."""

from absl import flags

from keras_selfkd import FRSKD, SigmoidRampUp, Supervised, losses

_SOFT_LABEL_WEIGHT = flags.DEFINE_float(
    "soft_label_weight", 2.0, "Weight of the self-teacher's labels.", lower_bound=0.0
)
_FEATURE_WEIGHT = flags.DEFINE_float(
    "feature_weight",
    None,
    "Weight of the feature loss; by default that loss's own.",
    lower_bound=0.0,
)
_FEATURE_RAMP = flags.DEFINE_enum(
    "feature_ramp",
    "sigmoid",
    ["none", "sigmoid"],
    "sigmoid: both distillation weights rise over the whole training.",
)
_FEATURE_LOSS = flags.DEFINE_enum(
    "feature_loss",
    "attention_transfer",
    ["attention_transfer", "normalized_mse"],
    "What feature maps are compared by.",
)
_TEMPERATURE = flags.DEFINE_float(
    "temperature", 4.0, "Softens the labels that are compared."
)
_WIDTH = flags.DEFINE_integer(
    "width", 1, "Channels of the self-teacher as a multiple of the student's; paper: 2."
)
_CHANNELS = flags.DEFINE_integer(
    "channels", None, "Channels of the self-teacher, the same at each level."
)


def build_method(name, steps):
    """Builds a method as the flags describe it.

    Args:
        name: A key of `METHODS`.
        steps: Number of optimizer steps of the whole training.

    Returns:
        A `keras_selfkd.Method`.
    """
    return METHODS[name](steps)


def _supervised(steps):
    return Supervised()


def _frskd(steps):
    feature_loss = getattr(losses, _FEATURE_LOSS.value)
    soft_label_weight, feature_weight = _SOFT_LABEL_WEIGHT.value, _FEATURE_WEIGHT.value
    if feature_weight is None:
        feature_weight = feature_loss.default_weight
    if _FEATURE_RAMP.value == "sigmoid":
        soft_label_weight = SigmoidRampUp(0, steps, peak=soft_label_weight)
        feature_weight = SigmoidRampUp(0, steps, peak=feature_weight)
    return FRSKD(
        soft_label_weight=soft_label_weight,
        feature_weight=feature_weight,
        temperature=_TEMPERATURE.value,
        feature_loss=feature_loss,
        width=_WIDTH.value,
        channels=_CHANNELS.value,
    )


METHODS = {"supervised": _supervised, "frskd": _frskd}

METHOD = flags.DEFINE_enum("method", "frskd", list(METHODS), "What to train with.")
BASELINE = flags.DEFINE_bool(
    "baseline", True, "First train plainly by the same recipe, to compare with."
)


def methods_to_train():
    """Returns the names of the methods that a run trains, the baseline first."""
    with_baseline = BASELINE.value and METHOD.value != "supervised"
    return ["supervised", METHOD.value] if with_baseline else [METHOD.value]
