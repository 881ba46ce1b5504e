"""NFD: feature maps are compared after instance normalisation."""

import keras

from keras_selfkd.losses import normalized_mse
from keras_selfkd.methods.frskd import FRSKD


@keras.saving.register_keras_serializable(package="keras_selfkd")
class NFD(FRSKD):
    """Normalised feature distillation from a self-teacher.

    `CE(y, z_s) + CE(y, z_t) + gamma sum_i mean((N(T_i) - N(F_i))^2)`, where `N` gives
    each map of each example and channel mean 0 and variance 1, so that only the pattern
    of a feature map is taught, not its scale. This is `FRSKD(feature_loss=
    normalized_mse)` without soft labels. The paper's setting, in which a trained
    network teaches, is `Taught(teacher, soft_label_weight=0)`.

    Args:
        feature_weight: Float, `Ramp` or schedule (gamma), or `None` for
            `normalized_mse`'s own default.
        soft_label_weight: Float, `Ramp` or schedule; 0 leaves out the soft labels.
            Defaults to 0, the paper's.
        temperature: Float above 0, of the soft labels. Defaults to 1.
        width: Integer, the self-teacher's channels as a multiple of each tap's.
        depth: Integer, the self-teacher's convolutions after each fusion.
        repeats: Integer, the self-teacher's stacked pyramids.
        channels: Integer, the self-teacher's channels on every level.
        mixing: `Mixup` or `CutMix`, or `None`.

    Raises:
        ValueError: for an argument of another type or out of range.

    Example:

    >>> import keras_selfkd
    >>> sorted(keras_selfkd.NFD(channels=64).loss_weights)
    ['feature', 'task', 'teacher_task']

    References:
        Liu et al., "Normalized Feature Distillation for Semantic Segmentation", 2022,
        https://arxiv.org/abs/2207.05256. The self-teacher is FRSKD's.
    """

    def __init__(
        self,
        *,
        feature_weight=None,
        soft_label_weight=0.0,
        temperature=1.0,
        width=2,
        depth=2,
        repeats=1,
        channels=None,
        **kwargs,
    ):
        super().__init__(
            soft_label_weight=soft_label_weight,
            feature_weight=feature_weight,
            temperature=temperature,
            feature_loss=normalized_mse,
            width=width,
            depth=depth,
            repeats=repeats,
            channels=channels,
            **kwargs,
        )

    @classmethod
    def for_pixels(cls, **arguments):
        """As for classes: the paper is about masks."""
        return cls(**arguments)

    @classmethod
    def from_config(cls, config):
        """Also of models that were saved when NFD itself took a trained teacher."""
        config = dict(config)
        if config.pop("teacher", None) is not None:
            raise ValueError(
                "This training model was saved by an earlier version; a trained "
                "network teaches by `Taught(teacher, soft_label_weight=0)`. Build a "
                "new model with it, around a student of the same layers. Received: NFD "
                "with a teacher"
            )
        config.pop("teacher_taps", None)
        return super().from_config(config)
