import pytest

from keras_selfkd import CSKD, FRSKD, PSKD, Late, Mixup, SelfDistillationModel
from keras_selfkd.traced_step import TracedStep, parts_of
from tests import toys


def test_parts_are_those_of_a_method_inside_and_have_weights():
    method = Late(FRSKD(width=1, mixing=Mixup()))
    SelfDistillationModel(toys.classifier(), method)
    assert list(parts_of(method)) == ["self_teacher"]


def one_logit():
    return toys.classifier(classes=1)


@pytest.mark.parametrize(
    ("method", "create", "expected"),
    [
        (CSKD(), toys.classifier, {"x": (16, 16, 3), "y": (), "pair": (16, 16, 3)}),
        (PSKD(8), toys.classifier, {"x": (16, 16, 3), "y": (), "index": ()}),
        (FRSKD(channels=2), toys.segmenter, {"x": (16, 16, 3), "y": (16, 16)}),
        (
            FRSKD(width=1),
            lambda: toys.classifier(classes=1),
            {"x": (16, 16, 3), "y": (1,)},
        ),
    ],
)
def test_a_batch_has_what_a_method_needs(method, create, expected):
    step = TracedStep(SelfDistillationModel(create(), method))
    assert {key: tuple(spec.shape[1:]) for key, spec in step.batch.items()} == expected


def test_layers_can_be_called_as_before_when_it_was_traced():
    model = SelfDistillationModel(toys.classifier(), FRSKD(width=1))
    images, _ = toys.class_data(2)
    before = vars(model.method.self_teacher).keys()
    step = TracedStep(model)
    with pytest.raises(KeyError):  # It fails half-way: no images.
        step({"y": images})
    assert vars(model.method.self_teacher).keys() == before
    assert model.method.begun
