import inspect

import numpy as np
import pytest

import keras_selfkd
from keras_selfkd import SelfDistillationModel, methods
from tests import toys
from tests.methods.cases import inputs_for

pytestmark = pytest.mark.filterwarnings("ignore:The self-teacher has:UserWarning")


def weights_of(name):
    parameters = inspect.signature(getattr(keras_selfkd, name)).parameters
    return [key for key in parameters if key.endswith("_weight")]


@pytest.mark.parametrize("name", [name for name in methods.__all__ if weights_of(name)])
def test_a_weight_of_0_leaves_its_term_out(name):
    """Not logged, and no part of the loss; the networks of such terms stand still."""
    zeros = dict.fromkeys(weights_of(name), 0)
    kind = getattr(keras_selfkd, name)
    taught = "teacher" in inspect.signature(kind).parameters
    teacher = {"teacher": toys.classifier()} if taught else {}
    method = kind(**teacher, **zeros)
    images, labels = toys.class_data(8)
    model = SelfDistillationModel(toys.classifier(), method)
    model.compile("sgd", toys.cross_entropy())
    data = inputs_for(method, images), labels
    logs = model.train_on_batch(*data, return_dict=True)
    left_out = {key.removesuffix("_weight") + "_loss" for key in zeros}
    assert not left_out & logs.keys()
    assert "task_loss" in logs
    terms = [value for key, value in logs.items() if key != "loss"]
    np.testing.assert_allclose(logs["loss"], sum(terms), rtol=1e-6)
