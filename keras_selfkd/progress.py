"""How far a `fit` is, and weights of losses that depend on it."""

import warnings

import keras
from keras import ops, tree

from keras_selfkd.arguments import check_number
from keras_selfkd.progress_bar import for_terminals


@keras.saving.register_keras_serializable(package="keras_selfkd")
class Ramp:
    """A weight of a loss that rises over the training, in whatever number of steps.

    `peak * exp(-5 (1 - t)^2)`, with t going from 0 to 1 between `start` and `end`; 0
    before `start`, `peak` after `end`. Both are progress: the share of the epochs of
    `fit` that lies behind, 0 in its first step. A weight over optimizer steps is a
    Keras `LearningRateSchedule`, such as `SigmoidRampUp`.

    Args:
        peak: Number of at least 0, the final weight.
        start: Number in [0, 1), the progress up to which the weight is 0. Defaults
            to 0.
        end: Number in (start, 1], the progress at which the peak is reached.
            Defaults to 1.

    Raises:
        ValueError: for what is no number, or is out of range.

    Example:

    >>> ramp = Ramp(100.0, start=0.5)
    >>> [round(float(ramp(progress)), 2) for progress in (0.0, 0.5, 0.75, 1.0)]
    [0.0, 0.67, 28.65, 100.0]

    References:
        Laine and Aila, "Temporal Ensembling for Semi-Supervised Learning", ICLR
        2017, https://arxiv.org/abs/1610.02242
    """

    def __init__(self, peak, *, start=0.0, end=1.0):
        check_number(at_least=0, peak=peak, start=start, end=end)
        if not start < end <= 1:
            raise ValueError(
                "Expected start < end <= 1, shares of the training. "
                f"Received: start={start}, end={end}"
            )
        self.peak = peak
        self.start = start
        self.end = end

    def __call__(self, progress):
        return sigmoid_ramp(progress, self.peak, self.start, self.end)

    def __repr__(self):
        return f"Ramp({self.peak}, start={self.start}, end={self.end})"

    def get_config(self):
        return {"peak": self.peak, "start": self.start, "end": self.end}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


def sigmoid_ramp(position, peak, start, end):
    """0 before `start`, then `peak exp(-5 (1 - t)^2)`, t from 0 to 1 at `end`."""
    position = ops.cast(position, "float32")
    t = ops.clip((position - start) / (end - start), 0.0, 1.0)
    return ops.where(position < start, 0.0, peak * ops.exp(-5.0 * ops.square(1.0 - t)))


class Progress:
    """The progress of a model's `fit`, which its step reads and moves on.

    Not saved: `fit` knows it from the epochs, after a resume, too.
    """

    def __init__(self):
        # One over the planned length; of it where the epoch begins, what a step adds,
        # and the steps since then. Each replica counts, as all of them take each step.
        self._state = keras.Variable(
            [1.0, 0.0, 0.0, 0.0],
            dtype="float32",
            trainable=False,
            synchronization="on_read",
            aggregation="only_first_replica",
            name="progress",
        )

    def begin_epoch(self, epoch, epochs, steps):
        """Sets the progress of an epoch of `epochs`, with `steps` if they are known."""
        if steps is None:
            self._state.assign([1 / epochs, epoch, 0, 0])
        else:
            self._state.assign([1 / (epochs * steps), epoch * steps, 1, 0])

    def next_step(self):
        """The progress of the step that begins, a float32 scalar."""
        scale, start, each, steps = ops.unstack(ops.convert_to_tensor(self._state))
        self._state.assign_add([0.0, 0.0, 0.0, 1.0])
        return (start + each * steps) * scale


class ProgressModel(keras.Model):
    """A Keras model with a `progress`, whose `fit` tells its method of epochs."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.progress = Progress()

    def fit(
        self,
        x=None,
        y=None,
        batch_size=None,
        epochs=1,
        verbose="auto",
        callbacks=None,
        *args,
        **kwargs,
    ):
        """Keras's own, which also tells the model and its method when epochs begin.

        On a terminal the progress is one line that fits it.
        """
        callbacks = with_callback(callbacks, BeginEpochs(self, epochs))
        callbacks = for_terminals(callbacks, verbose)
        given = (x, y, batch_size, epochs, verbose, callbacks)
        return super().fit(*given, *args, **kwargs)


class BeginEpochs(keras.callbacks.Callback):
    """Tells a model and its method when an epoch of `fit` begins.

    Args:
        model: `SelfDistillationModel`.
        epochs: Number of epochs that `fit` was asked for.
    """

    def __init__(self, model, epochs):
        super().__init__()
        self.set_model(model)
        self.epochs = epochs

    def on_epoch_begin(self, epoch, logs=None):
        steps = (self.params or {}).get("steps")
        self.model.progress.begin_epoch(epoch, self.epochs, steps)
        if self.model.method.begin_epoch(epoch, self.epochs):
            self.model.make_train_function(force=True)


def with_callback(callbacks, callback):
    """What `fit` takes as callbacks, with another one before them."""
    if isinstance(callbacks, keras.callbacks.CallbackList):
        callback.set_params(callbacks.params)
        callbacks.callbacks.insert(0, callback)
        return callbacks
    return [callback, *tree.flatten(callbacks or [])]


def warn_if_never_begun(name, start, epoch, epochs):
    """Warns before the first of a training's epochs if what starts late never does."""
    if (epochs - 1) / epochs < start and epoch == 0:
        warnings.warn(
            f"Of {epochs} epochs none begins after {start:.3g} of them, so that {name} "
            "never begins. Give `fit` all epochs at once, or an earlier `start`.",
            stacklevel=3,
        )
