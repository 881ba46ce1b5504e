"""Refuses every Keras backend but TensorFlow, before anything else is imported."""

import importlib


def check_backend():
    """Refuses to work on another backend than TensorFlow, or on none.

    Raises:
        ImportError: which says how to choose TensorFlow.
    """
    try:
        found = f"backend={importlib.import_module('keras').config.backend()!r}"
    except ModuleNotFoundError as error:
        # Keras itself fails where it is told to use a backend that is not installed.
        found = f"no module named {error.name!r}"
    if found != "backend='tensorflow'":
        raise ImportError(
            "keras_selfkd trains with Keras 3 on TensorFlow. Install both, and set the "
            "environment variable KERAS_BACKEND=tensorflow before Keras is imported. "
            f"Received: {found}"
        )


check_backend()
