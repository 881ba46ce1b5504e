import collections

from hypothesis import HealthCheck, given, settings

from tests import hostile

SETTINGS = {
    "deadline": None,  # Machines are shared.
    "database": None,
    "derandomize": True,
    "suppress_health_check": list(HealthCheck),
}


def test_odd_input_trains_or_is_refused_in_time():
    kinds = collections.Counter()

    @settings(max_examples=40, **SETTINGS)
    @given(hostile.cases())
    def try_case(case):
        kinds[hostile.outcome(case).kind] += 1

    try_case()
    assert kinds["trained"] >= 5, kinds
    assert kinds["refused"] >= 5, kinds
