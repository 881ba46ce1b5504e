"""The same labels as integers and one-hot."""

import keras
import numpy as np

from keras_selfkd import SelfDistillationModel
from tests import toys


def logs_of_both(create_method):
    """Logs of a first step on integer labels, and on the same ones one-hot."""
    images, labels = toys.class_data()
    one_hot = np.eye(toys.CLASSES, dtype="float32")[labels]
    logs = []
    for loss, y in (
        (toys.cross_entropy(), labels),
        (keras.losses.CategoricalCrossentropy(from_logits=True), one_hot),
    ):
        keras.utils.clear_session(free_memory=False)
        keras.utils.set_random_seed(0)
        model = SelfDistillationModel(toys.classifier(), create_method())
        model.compile("sgd", loss)
        logs.append(model.train_on_batch(images, y, return_dict=True))
    return logs
