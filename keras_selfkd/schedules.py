"""Loss weights and learning rates over time, as Keras learning-rate schedules."""

import keras
from keras import ops
from keras.optimizers import schedules

from keras_selfkd.arguments import check_number
from keras_selfkd.progress import sigmoid_ramp


@keras.saving.register_keras_serializable(package="keras_selfkd")
class SigmoidRampUp(schedules.LearningRateSchedule):
    """A weight that is 0 until step `start`, then ramps up to `peak` at step `end`.

    As `Ramp`, which spares you to count steps. Steps are the optimizer's updates, as
    in learning-rate schedules (under gradient accumulation several batches make one).

    Args:
        start: Number, first step with a weight above 0.
        end: Number above `start`, the step at which the peak is reached.
        peak: Number of at least 0, the final weight.

    Raises:
        ValueError: for what is no number, a negative one, or an `end` that does not
            come after `start`.

    Example:

    >>> ramp = SigmoidRampUp(start=10, end=20, peak=100.0)
    >>> [round(float(ramp(step)), 2) for step in (9, 10, 15, 20, 30)]
    [0.0, 0.67, 28.65, 100.0, 100.0]

    References:
        Laine and Aila, "Temporal Ensembling for Semi-Supervised Learning", ICLR
        2017, https://arxiv.org/abs/1610.02242
    """

    def __init__(self, start, end, peak):
        check_number(at_least=0, start=start, end=end, peak=peak)
        if not start < end:
            raise ValueError(
                "Expected start < end, in optimizer steps. "
                f"Received: start={start}, end={end}"
            )
        self.start = start
        self.end = end
        self.peak = peak

    def __call__(self, step):
        return sigmoid_ramp(step, self.peak, self.start, self.end)

    def get_config(self):
        return {"start": self.start, "end": self.end, "peak": self.peak}


@keras.saving.register_keras_serializable(package="keras_selfkd")
class WarmUp(schedules.LearningRateSchedule):
    """Rises linearly to a schedule's first value, then follows the schedule.

    Args:
        schedule: `keras.optimizers.schedules.LearningRateSchedule`, whose step 0 is
            the first step after the warm-up.
        warmup_steps: Number of steps of the rise, at least 1.

    Example:
    >>> constant = schedules.PiecewiseConstantDecay([10], [0.4, 0.4])
    >>> rate = WarmUp(constant, warmup_steps=4)
    >>> [round(float(rate(step)), 3) for step in range(6)]
    [0.1, 0.2, 0.3, 0.4, 0.4, 0.4]
    """

    def __init__(self, schedule, warmup_steps):
        super().__init__()
        if warmup_steps < 1:
            raise ValueError(
                "Expected `warmup_steps` to be at least 1. "
                f"Received: warmup_steps={warmup_steps}"
            )
        self.schedule = schedule
        self.warmup_steps = warmup_steps

    def __call__(self, step):
        """Returns the learning rate at a step, a float32 scalar."""
        step = ops.cast(step, "float32")
        rise = ops.minimum((step + 1) / self.warmup_steps, 1.0)
        return rise * self.schedule(ops.maximum(step - self.warmup_steps, 0))

    def get_config(self):
        """Returns the arguments of the constructor."""
        return {
            "schedule": schedules.serialize(self.schedule),
            "warmup_steps": self.warmup_steps,
        }

    @classmethod
    def from_config(cls, config):
        """Rebuilds the schedule inside as well."""
        return cls(schedules.deserialize(config["schedule"]), config["warmup_steps"])
