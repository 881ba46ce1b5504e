"""Checks of constructors' arguments, each of which names what it refuses."""

import math
import numbers


def check_number(above=None, at_least=None, below=None, **arguments):
    """Refuses what is no finite number, or one out of range.

    Args:
        above: Number that the arguments must exceed, or `None`.
        at_least: Number that they must reach, or `None`.
        below: Number that they must not reach, or `None`.
        **arguments: What to check, by name.
    """
    bound = "" if above is None else f" above {above}"
    bound += "" if at_least is None else f" of at least {at_least}"
    bound += "" if below is None else f" below {below}"
    for name, value in arguments.items():
        fits = (
            is_number(value)
            and (above is None or value > above)
            and (at_least is None or value >= at_least)
            and (below is None or value < below)
        )
        refuse_unless(fits, name, f"a finite number{bound}", value)


def check_integer(least=1, **arguments):
    """Refuses what is no integer, or one below `least`."""
    for name, value in arguments.items():
        fits = is_number(value) and isinstance(value, numbers.Integral)
        fits = fits and value >= least
        refuse_unless(fits, name, f"an integer of at least {least}", value)


def check_boolean(**arguments):
    """Refuses what is neither `True` nor `False`."""
    for name, value in arguments.items():
        refuse_unless(isinstance(value, bool), name, "True or False", value)


def check_weight(**arguments):
    """Refuses weights of terms that are neither numbers of at least 0 nor schedules."""
    for name, value in arguments.items():
        schedule = callable(value) and not isinstance(value, type)
        refuse_unless(
            schedule or (is_number(value) and value >= 0),
            name,
            "a finite number of at least 0, a `Ramp` or a "
            "`keras.optimizers.schedules.LearningRateSchedule`",
            value,
        )


def check_names(**arguments):
    """Refuses what is no list of different layer names."""
    for name, value in arguments.items():
        fits = isinstance(value, (list, tuple)) and all(
            isinstance(one, str) for one in value
        )
        refuse_unless(
            fits and len(set(value)) == len(value),
            name,
            f'a list of layer names, each once, such as {name}=["stage1", "stage2"]',
            value,
        )


def check_single(**arguments):
    """Refuses lists of arrays where a student's one input or output belongs."""
    for name, value in arguments.items():
        # Images may come in a dict, with what belongs to them.
        if isinstance(value, (list, tuple, *[dict] * (name != "x"))):
            raise ValueError(
                f"Expected {name} to be one array, because a student has one input and "
                f"one output. Pass what the {type(value).__name__} holds: `{name}[0]` "
                f"of a list. Received: {name}=a {type(value).__name__} of {len(value)}"
            )


def is_number(value):
    """Whether it is a finite real number; `True` and `False` are none."""
    is_real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    return is_real and math.isfinite(value)


def refuse_unless(fits, name, kind, value):
    if not fits:
        raise ValueError(f"Expected {name} to be {kind}. Received: {name}={value!r}")
