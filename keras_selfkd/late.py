"""Plain training first, self-distillation later."""

import keras

from keras_selfkd.arguments import check_number
from keras_selfkd.method import Method
from keras_selfkd.progress import warn_if_never_begun


@keras.saving.register_keras_serializable(package="keras_selfkd")
class Late(Method):
    """Plain training, and at its cost, up to a share of the epochs; then a method.

    The method's networks rest until then: no forward pass, no gradient, no weight
    decay; its terms are logged as 0. It begins with the first epoch of `fit` before
    which that share lies, and the step is traced again there. Nothing begins outside
    of `fit`, such as in `train_on_batch`.

    Args:
        method: The `Method`, with a term `"task"`.
        start: Number in [0, 1), share of the epochs that are plain training. Defaults
            to 2/3.

    Raises:
        ValueError: for another `start`, something else than a method or one without a
            task, and mixing of its own.

    Example:

    >>> import keras_selfkd
    >>> method = keras_selfkd.Late(keras_selfkd.FRSKD(), start=0.5)
    >>> method.loss_weights["soft_label"]
    2.0

    References:
        Hou et al., "Learning Lightweight Lane Detection CNNs by Self Attention
        Distillation", ICCV 2019, https://arxiv.org/abs/1908.00821, distils late.
    """

    def __init__(self, method, *, start=2 / 3, **kwargs):
        super().__init__(**kwargs)
        if not isinstance(method, Method) or "task" not in method.loss_weights:
            raise ValueError(
                'Expected a method with a term "task", such as `FRSKD()`. Received: '
                f"method={method!r}"
            )
        if self.mixing is not None:
            raise ValueError(
                "Mixing belongs to the method inside: `Late(FRSKD(mixing=Mixup(0.2)))`."
                f" Received: mixing={self.mixing!r}"
            )
        check_number(at_least=0, below=1, start=start)
        self.method = method
        self.start = start
        self.begun = False
        for name in METHOD_SAYS:
            setattr(self, name, getattr(method, name))

    @property
    def terms(self):
        return self.method.terms

    @property
    def loss_weights(self):
        return self.method.loss_weights

    @property
    def self_teacher(self):
        """The method's, for pictures of it."""
        return self.method.self_teacher

    @property
    def resting(self):
        return self.method.resting if self.begun else self.trainable_weights

    def attach(self, student, outputs):
        super().attach(student, outputs)
        self.method.attach(student, outputs)

    def begin_epoch(self, epoch, epochs):
        warn_if_never_begun(self.method.name, self.start, epoch, epochs)
        before, self.begun = self.begun, epoch / epochs >= self.start
        changes = self.method.begin_epoch(epoch, epochs)
        return changes or self.begun != before

    def exits(self, outputs):
        return self.method.exits(outputs)

    def averaged_weights(self):
        return self.method.averaged_weights()

    def prepare(self, batch):
        return self.method.prepare(batch) if self.begun else batch

    def loss_terms(self, student, batch, supervise):
        self.method.multi_label = self.multi_label
        if self.begun:
            return self.method.loss_terms(student, batch, supervise)
        nothing = dict.fromkeys(self.loss_weights, 0.0)
        return {**nothing, "task": supervise(batch["y"], student.logits)}

    def after_step(self, student, batch):
        if self.begun:
            self.method.after_step(student, batch)


# What a method says of itself, and another that holds it says, too.
METHOD_SAYS = (
    "minimum_taps",
    "needs",
    "dense",
    "exclusive",
    "compares_views",
    "warmup_epochs",
    "ramped",
    "supports_jit",
)


@keras.saving.register_keras_serializable(package="keras_selfkd")
class EveryKSteps:
    """What earlier versions saved under this name is refused."""

    def get_config(self):
        return {}

    @classmethod
    def from_config(cls, config):
        raise ValueError(
            "This training model was saved by an earlier version: `EveryKSteps`, which "
            "distilled in every k-th step, was worse than both its ends. Build a new "
            "model around a student of the same layers, with the method inside of it "
            "or with `Late(method)`. Received: EveryKSteps"
        )
