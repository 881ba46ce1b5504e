import keras
import numpy as np
import pytest

from keras_selfkd import FRSKD, NFD, SelfDistillationModel
from tests import toys


def config_of(method):
    return SelfDistillationModel(toys.classifier(), method).get_config()


def with_method(config, name, **arguments):
    method = config["method"]
    changed = {"config": {**method["config"], **arguments}}
    return {**config, "method": {**method, **changed, "registered_name": name}}


def test_nfd_without_its_former_arguments_is_read():
    config = config_of(NFD(width=1, depth=1, feature_weight=0.5))
    earlier = with_method(config, "keras_selfkd>NFD", teacher=None, teacher_taps=None)
    model = SelfDistillationModel.from_config(earlier)
    assert model.method.feature_weight == 0.5
    model.compile("sgd", toys.cross_entropy())
    assert np.isfinite(model.fit(*toys.class_data(4), verbose=0).history["loss"])


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("EveryKSteps", {"k": 2}, r"or with `Late\(method\)`. Received: EveryKSteps"),
        ("NFD", {"teacher": {}}, r"`Taught\(teacher, soft_label_weight=0\)`"),
    ],
)
def test_error_what_there_is_no_more(name, arguments, message):
    config = config_of(FRSKD(width=1, depth=1))
    earlier = with_method(config, f"keras_selfkd>{name}", **arguments)
    earlier["method"]["class_name"] = name
    with pytest.raises(ValueError, match=message):
        SelfDistillationModel.from_config(earlier)


def test_a_file_of_today_is_read(tmp_path):
    model = SelfDistillationModel(toys.classifier(), FRSKD(width=1, depth=1))
    model.compile("sgd", toys.cross_entropy())
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for one, other in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
