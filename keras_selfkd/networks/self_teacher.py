"""The self-teacher: a feature pyramid with a head, grown on a student's taps."""

import warnings

import keras

from keras_selfkd.networks.bifpn import bifpn
from keras_selfkd.networks.heads import prediction_head
from keras_selfkd.pixels import is_dense


def self_teacher(student, outputs, width, depth, repeats, channels):
    """Builds a self-teacher on taps; warns where it is larger than the student.

    Args:
        student: Keras model, only counted.
        outputs: Its symbolic `Outputs`.
        width: Integer, channels of a level as a multiple of its tap's (BiFPNc).
        depth: Integer, separable convolutions after each fusion.
        repeats: Integer, stacked pyramids.
        channels: Integer, channels of every level (BiFPN) instead of `width`.

    Returns:
        `keras.Model` from the taps to `[logits, *refined maps]`; dense logits are of
        the finest tap's size.
    """
    taps = [keras.Input(batch_shape=f.shape, dtype=f.dtype) for f in outputs.features]
    refined = bifpn(
        taps,
        [channels or width * tap.shape[-1] for tap in taps],
        depth=depth,
        repeats=repeats,
        resample_conv=channels is None,
        bottom_up=not is_dense(outputs.logits),
    )
    logits = prediction_head(refined, outputs.logits)
    model = keras.Model(taps, [logits, *refined], name="self_teacher")
    size, student_size = model.count_params(), student.count_params()
    if size > student_size:
        warnings.warn(
            f"The self-teacher has {size:,} parameters, the student only "
            f"{student_size:,}. It is thrown away after training, but costs time: "
            "`width=1` or `channels=64` makes it smaller.",
            stacklevel=2,
        )
    return model
