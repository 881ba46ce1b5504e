import keras
import numpy as np
import pytest

from keras_selfkd import SigmoidRampUp


def test_by_hand():
    ramp = SigmoidRampUp(start=100, end=200, peak=50.0)
    steps = [0, 99, 100, 150, 200, 1000]
    expected = [0, 0, 50 * np.exp(-5), 50 * np.exp(-1.25), 50, 50]
    np.testing.assert_allclose([float(ramp(s)) for s in steps], expected, rtol=1e-6)


def test_never_falls():
    ramp = SigmoidRampUp(0, 1000, 3.0)
    values = np.array([float(ramp(step)) for step in range(0, 1100, 10)])
    assert np.all(np.diff(values) >= 0)


def test_survives_serialization():
    ramp = SigmoidRampUp(1, 9, 2.0)
    again = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(ramp)
    )
    assert type(again) is SigmoidRampUp
    assert again.get_config() == {"start": 1, "end": 9, "peak": 2.0}


@pytest.mark.parametrize(("start", "end"), [(5, 5), (6, 5)])
def test_error_order(start, end):
    with pytest.raises(ValueError, match=f"Received: start={start}, end={end}"):
        SigmoidRampUp(start, end, 1.0)
