import collections

import pytest
from hypothesis import HealthCheck, given, settings

from tests import hostile
from tests.odd_input import LABELS, ODD, Case

SETTINGS = {
    "deadline": None,  # Machines are shared.
    "database": None,
    "derandomize": True,
    "suppress_health_check": list(HealthCheck),
}
# Labels of every kind for each form of them, and every other oddity once.
ALONE = [
    *(
        Case(loss=loss, labels=labels, classes=2 if loss == "binary" else 300)
        for loss in ("sparse", "categorical", "binary")
        for labels in LABELS
    ),
    *(
        Case(**{name: value})
        for name in ("kind", "loss", "pixels", "dtype", "keys", "sample_weight")
        for value in ODD[name]
    ),
    *(
        Case("FRSKD", dense=dense, classes=1, loss="binary", labels=labels)
        for dense in (False, True)
        for labels in ("good", "channel")
    ),
]


def name_of(case):
    odd = {k: v for k, v in case._asdict().items() if v != Case._field_defaults[k]}
    return ",".join(f"{key}={value}" for key, value in odd.items())


@pytest.mark.parametrize("case", dict.fromkeys(ALONE), ids=name_of)
def test_one_odd_thing_at_a_time(case):
    assert hostile.outcome(case)


def test_odd_input_trains_or_is_refused_in_time():
    kinds = collections.Counter()

    @settings(max_examples=30, **SETTINGS)
    @given(hostile.cases())
    def try_case(case):
        kinds[hostile.outcome(case).kind] += 1

    try_case()
    assert kinds["trained"] >= 5, kinds
    assert kinds["refused"] >= 5, kinds
