"""What a callback remembers, so that another one can go on from it."""

import contextlib
import json

import numpy as np


def plain_values(callback):
    """A callback's attributes that are plain values, or lists and dicts of such."""
    found = {}
    for name, value in vars(callback).items():
        if name == "min_delta":
            continue  # A setting, whose sign Keras turns when it is first used.
        value = value.item() if isinstance(value, np.generic) else value
        with contextlib.suppress(TypeError, ValueError):  # No plain value.
            found[name] = json.loads(json.dumps(value))
    return found


def lists_of_arrays(callback):
    """A callback's attributes that are lists of arrays, such as the best weights."""
    return {
        name: value
        for name, value in vars(callback).items()
        if isinstance(value, list)
        and value
        and all(isinstance(entry, np.ndarray) for entry in value)
    }
