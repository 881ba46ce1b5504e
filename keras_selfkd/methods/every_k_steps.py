"""Self-distillation in every k-th step alone, which costs less."""

import keras
from keras import ops

from keras_selfkd.arguments import check_integer
from keras_selfkd.distributed.replicas import replica_count
from keras_selfkd.distributed.update import Writes
from keras_selfkd.method import Method
from keras_selfkd.mixing import MixedLabels


@keras.saving.register_keras_serializable(package="keras_selfkd")
class EveryKSteps(Method):
    """Distils in every k-th step; the steps between are plain training.

    The steps between skip the method's own networks, forward and backward; the other
    terms count as 0 there, in the logs too. What `prepare` makes of a batch is made in
    all steps: mixed or rotated views, which pass the student, and what a frozen teacher
    says. The optimizer sees zero gradients of the method's weights, so momentum and
    weight decay still move them. Not for XLA: Keras compiles without it, and says so.

    Args:
        method: The `Method`, with a term `"task"`.
        k: Integer above 0. Defaults to 2.

    Raises:
        ValueError: for `k` out of range, something else than a method or one without
            a task, mixing of its own, and under `tf.distribute`, where replicas cannot
            leave out a step.

    Example:

    >>> import keras_selfkd
    >>> method = keras_selfkd.EveryKSteps(keras_selfkd.FRSKD(), k=3)
    >>> method.loss_weights["soft_label"]
    2.0
    """

    def __init__(self, method, *, k=2, **kwargs):
        super().__init__(**kwargs)
        if not isinstance(method, Method) or "task" not in method.loss_weights:
            raise ValueError(
                'Expected a method with a term "task", such as `FRSKD()`. Received: '
                f"method={method!r}"
            )
        if self.mixing is not None:
            raise ValueError(
                "Mixing belongs to the method inside: `EveryKSteps(FRSKD(mixing="
                f"Mixup(0.2)))`. Received: mixing={self.mixing!r}"
            )
        check_integer(k=k)
        self.method = method
        self.k = k
        self.supports_jit = False  # XLA cannot take gradients through the branches.
        self.minimum_taps = method.minimum_taps
        self.compares_views = method.compares_views

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

    def attach(self, student, outputs):
        if replica_count() > 1:
            raise ValueError(
                "EveryKSteps works on one device: replicas share their statistics and "
                "gradients in every step. Train with the method itself, or without a "
                f"strategy. Received: {replica_count()} replicas"
            )
        super().attach(student, outputs)
        self.method.attach(student, outputs)
        self.step = self.add_weight(
            (), "zeros", dtype="int64", trainable=False, name="step"
        )

    def prepare(self, batch):
        return self.method.prepare(batch)

    def loss_terms(self, student, batch, supervise):
        self.method.multi_label = self.multi_label
        ranks, written = {}, []

        def as_float(term):
            return ops.cast(term, keras.config.floatx())

        def distilled():
            with Writes() as writes:
                terms = self.method.loss_terms(student, batch, supervise)
            written.extend(writes.variables)
            terms = {name: as_float(term) for name, term in terms.items()}
            ranks.update({name: len(term.shape) for name, term in terms.items()})
            return terms, writes.values()

        def plain():
            y = batch["y"]
            first = ops.shape(y.own if isinstance(y, MixedLabels) else y)[0]
            task = as_float(supervise(y, student.logits[:first]))
            # Sums of nothing: gradients are 0, as in a graph, not missing.
            empty = [ops.sum(ops.ravel(w)[:0]) for w in self.trainable_variables]
            task += sum(as_float(nothing) for nothing in empty)
            # In a graph the branches must agree in ranks; the first is traced first.
            sizes = {0: (), 1: (first,)}
            others = {
                name: ops.zeros(
                    sizes.get(ranks.get(name, 0), ops.shape(task)), task.dtype
                )
                for name in self.loss_weights
            }
            kept = [ops.convert_to_tensor(variable) for variable in written]
            return {**others, "task": task}, kept

        # What a branch writes would be lost outside of it.
        terms, values = ops.cond(self.step % self.k == 0, distilled, plain)
        for variable, value in zip(written, values, strict=True):
            variable.assign(value)
        return terms

    def after_step(self, student, batch):
        self.step.assign_add(1)
        self.method.after_step(student, batch)
