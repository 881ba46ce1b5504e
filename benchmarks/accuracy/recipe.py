"""The recipe that the CIFAR-100 benchmarks share."""

import keras

from examples.runs.optimizers import learning_rate_schedule
from examples.students.convnets import resnet18
from keras_selfkd import SelfDistillationModel
from keras_selfkd.optimizers import SGDWithL2


def compiled(data, channels, method, steps, taps=None, warmup_steps=0):
    """A thin ResNet-18 with a method: cosine from 0.1, momentum 0.9, L2 5e-4.

    Args:
        data: `examples.data.prepared.Data`.
        channels: Channels of the four stages.
        method: `keras_selfkd.Method`.
        steps: Number of optimizer steps of the whole training.
        taps: Names of the taps, or `None` for the default ones.
        warmup_steps: Number of the first steps, in which the learning rate rises.
    """
    student = resnet18(data.image_shape, data.classes, channels=channels)
    model = SelfDistillationModel(student, method, taps)
    model.compile(
        SGDWithL2(
            learning_rate_schedule("cosine", 0.1, steps, warmup_steps),
            momentum=0.9,
            l2=5e-4,
        ),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model
