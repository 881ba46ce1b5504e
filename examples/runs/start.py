"""How a student starts: `--weights`, `--freeze_until` and `--backbone_rate`."""

from examples.data import inputs
from examples.runs import recipe
from examples.students import parts, pretrained
from keras_selfkd.distributed.layers import derive_constants


def read_ahead():
    """Reads `--weights`: loading a network draws from the seeds and names of a run."""
    if inputs.WEIGHTS.value is not None:
        pretrained.read_ahead(inputs.WEIGHTS.value)


def begin(student, labels):
    """Gives a fresh student the weights that the flags name, and freezes layers.

    Args:
        student: Functional `keras.Model`, changed in place.
        labels: List of the names of its classes.

    Raises:
        ValueError: If the weights are another network's, or no layer is to be frozen.
    """
    if inputs.WEIGHTS.value is not None:
        start = pretrained.start(student, inputs.WEIGHTS.value, labels)
        student.set_weights(start.values)
        derive_constants(student)
    if inputs.FREEZE_UNTIL.value is not None:
        parts.freeze_until(student, inputs.FREEZE_UNTIL.value)


def slow_variables(student):
    """Returns the paths of the variables that train at `--backbone_rate`."""
    return parts.backbone_paths(student) if recipe.BACKBONE_RATE.value < 1 else ()


def described(student, labels):
    """Yields a line for each thing that a fresh start has not."""
    if inputs.WEIGHTS.value is not None:
        yield pretrained.start(student, inputs.WEIGHTS.value, labels).said
    if inputs.FREEZE_UNTIL.value is not None:
        yield (
            f"Frozen up to {inputs.FREEZE_UNTIL.value}, BatchNorm in inference mode "
            "(--freeze_until)."
        )
    if recipe.BACKBONE_RATE.value < 1:
        yield (
            f"Layers before the head train at {recipe.BACKBONE_RATE.value:g} times the "
            "learning rate (--backbone_rate)."
        )
