import keras
import numpy as np
import pytest

from keras_selfkd import FRSKD, NFD, SelfDistillationModel
from keras_selfkd.losses import normalized_mse
from tests import toys
from tests.methods.batches import terms_of

pytestmark = pytest.mark.filterwarnings("ignore:The self-teacher has:UserWarning")


def test_the_self_taught_form_is_frskd_without_soft_labels():
    images, labels = toys.class_data()
    terms = {}
    for method in (
        NFD(width=1, feature_weight=0.3),
        FRSKD(width=1, feature_weight=0.3, feature_loss=normalized_mse),
    ):
        keras.utils.clear_session(free_memory=False)
        keras.utils.set_random_seed(0)
        model = SelfDistillationModel(toys.classifier(), method)
        terms[type(method)] = terms_of(model, images, labels)[1]
    frskd = terms[FRSKD]
    assert set(terms[NFD]) == set(frskd) - {"soft_label"}
    for name, values in terms[NFD].items():
        np.testing.assert_allclose(values, frskd[name], rtol=1e-5, err_msg=name)


@pytest.mark.parametrize(
    "name", ["temperature", "width", "depth", "repeats", "channels"]
)
def test_error_out_of_range(name):
    with pytest.raises(
        ValueError, match=f"Expected {name} to be .* Received: {name}=0"
    ):
        NFD(**{name: 0})


def test_default_weights():
    assert NFD().loss_weights == {
        "task": 1.0,
        "teacher_task": 1.0,
        "feature": normalized_mse.default_weight,
    }
