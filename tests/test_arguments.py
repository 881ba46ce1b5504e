import inspect

import numpy as np
import pytest

from keras_selfkd import (
    FRSKD,
    CutMix,
    Late,
    MixSKD,
    Mixup,
    Ramp,
    SigmoidRampUp,
    Supervised,
    methods,
)
from keras_selfkd.arguments import check_integer, check_names, check_number
from tests import toys

NAN, INF = float("nan"), float("inf")
NEEDED = {
    "Late": {"method": FRSKD()},
    "PSKD": {"examples": 4},
    "Ramp": {"peak": 1.0},
    "Taught": {"teacher": toys.classifier()},
    "SigmoidRampUp": {"start": 0, "end": 9, "peak": 1.0},
}
CLASSES = [
    *(getattr(methods, name) for name in methods.__all__),
    *(Supervised, Mixup, CutMix, Late, Ramp, SigmoidRampUp),
]


def arguments(kind):
    """The names that a class takes, also by passing them on."""
    makers = [
        c.__init__ for c in kind.__mro__ if c.__module__.startswith("keras_selfkd")
    ]
    found = {name for make in makers for name in inspect.signature(make).parameters}
    return sorted(found - {"self", "kwargs"})


# One that a class sets itself is refused by Python: it has no such argument.
ROWS = [
    (kind, name)
    for kind in CLASSES
    for name in arguments(kind)
    if (kind.__name__, name) != ("NFD", "feature_loss")
]


@pytest.mark.parametrize(
    ("kind", "name"), ROWS, ids=[f"{kind.__name__}-{name}" for kind, name in ROWS]
)
def test_every_argument_is_refused_by_its_name(kind, name):
    nonsense = object()
    given = {**NEEDED.get(kind.__name__, {}), name: nonsense}
    with pytest.raises(ValueError, match=rf"Received: .*{name}=<object"):
        kind(**given)


@pytest.mark.parametrize(
    ("create", "given"),
    [
        (FRSKD, {"width": 1.5}),
        (FRSKD, {"width": True}),
        (FRSKD, {"depth": "2"}),
        (FRSKD, {"channels": 0}),
        (FRSKD, {"channels": -8}),
        (FRSKD, {"temperature": "4"}),
        (FRSKD, {"temperature": NAN}),
        (FRSKD, {"temperature": INF}),
        (FRSKD, {"soft_label_weight": True}),
        (FRSKD, {"feature_weight": -1.0}),
        (FRSKD, {"feature_weight": SigmoidRampUp}),
        (FRSKD, {"mixing": Mixup}),
        (MixSKD, {"adversarial": 1}),
        (MixSKD, {"mixing": False}),
        (Mixup, {"alpha": "0.2"}),
        (CutMix, {"alpha": INF}),
        (CutMix, {"seed": 1.5}),
        (methods.Taught, {"teacher": "resnet.keras"}),
        (lambda **given: SigmoidRampUp(0, 9, **given), {"peak": -5}),
        (lambda **given: SigmoidRampUp(0, peak=1, **given), {"end": "9"}),
        (lambda **given: SigmoidRampUp(end=9, peak=1, **given), {"start": -1}),
    ],
)
def test_wrong_types_and_ranges(create, given):
    ((name, value),) = given.items()
    with pytest.raises(ValueError) as raised:
        create(**given)
    assert f"{name}={value!r}" in str(raised.value)


def test_numbers_of_numpy_are_numbers():
    FRSKD(
        soft_label_weight=np.float32(1.0), temperature=np.float64(2), width=np.int64(1)
    )
    check_number(above=0, one=np.float32(0.5))


def test_messages_say_what_is_expected():
    with pytest.raises(ValueError) as raised:
        check_number(above=0, rate=-1)
    assert str(raised.value) == (
        "Expected rate to be a finite number above 0. Received: rate=-1"
    )
    with pytest.raises(ValueError, match="size to be an integer of at least 3"):
        check_integer(least=3, size=2)


@pytest.mark.parametrize("taps", ["out1", [1], ["out1", "out1"], {"out1": 2}])
def test_names(taps):
    with pytest.raises(ValueError, match=r'such as taps=\["stage1", "stage2"\]'):
        check_names(taps=taps)
    check_names(taps=["out1", "out2"], others=("out3",))


def test_error_teacher_taps_is_a_string():
    with pytest.raises(ValueError, match="Received: teacher_taps='out1'"):
        methods.Taught(toys.classifier(), teacher_taps="out1")


def test_unknown_arguments_are_named():
    with pytest.raises(ValueError, match=r"Unrecognized keyword .*chanels"):
        FRSKD(chanels=64)
