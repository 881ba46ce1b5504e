"""Methods as a stranger writes them: one of logits, one of taps, one with a memory.

Nothing else in the repository knows them but their rows in `cases.py`.
"""

import keras
from keras import ops

from keras_selfkd import ExampleMemory, Method
from keras_selfkd.pixels import resized_like


@keras.saving.register_keras_serializable(package="tests")
class Confident(Method):
    """Logits alone: the entropy of what the student says shall be small.

    Args:
        entropy_weight: Float, its weight. Defaults to 0.1.
    """

    terms = ("task", "entropy")

    def __init__(self, *, entropy_weight=0.1, **kwargs):
        super().__init__(**kwargs)
        self.entropy_weight = entropy_weight

    def loss_terms(self, student, batch, supervise):
        log_p = ops.log_softmax(ops.cast(student.logits, "float32"))
        return {
            "task": supervise(batch["y"], student.logits),
            "entropy": -ops.sum(ops.exp(log_p) * log_p, axis=-1),
        }


@keras.saving.register_keras_serializable(package="tests")
class Deeper(Method):
    """Taps: where the finer map is bright, the coarser one shall be."""

    terms = ("task", "attention")
    minimum_taps = 2

    def loss_terms(self, student, batch, supervise):
        fine, coarse = (
            ops.mean(ops.square(ops.cast(f, "float32")), axis=-1, keepdims=True)
            for f in student.features[-2:]
        )
        distance = ops.square(ops.stop_gradient(resized_like(fine, coarse)) - coarse)
        return {
            "task": supervise(batch["y"], student.logits),
            "attention": ops.mean(distance, axis=(1, 2, 3)),
        }


@keras.saving.register_keras_serializable(package="tests")
class Remember(Method):
    """A memory: what the student said of an image last time, it shall say again.

    Args:
        examples: Integer, the number of training images. Defaults to 24.
    """

    terms = ("task", "consistency")
    needs = ("index",)
    dense = False

    def __init__(self, *, examples=24, **kwargs):
        super().__init__(**kwargs)
        self.examples = examples

    def attach(self, student, outputs):
        super().attach(student, outputs)
        self.memory = ExampleMemory(self.examples, outputs.logits.shape[-1])

    def prepare(self, batch):
        return {**batch, "last": self.memory.read(batch["index"])}

    def loss_terms(self, student, batch, supervise):
        logits = ops.cast(student.logits, batch["last"].dtype)
        return {
            "task": supervise(batch["y"], student.logits),
            "consistency": ops.mean(ops.square(logits - batch["last"]), axis=-1),
        }

    def after_step(self, student, batch):
        self.memory.write(batch["index"], student.logits)
