"""Which students are refused, or warned of, and what to do instead."""

import warnings

import keras
import numpy as np

from keras_selfkd.graph import has_graph, tensors_in, used_calls

TOKENS = (
    "Tokens (batch, length, channels) have no maps. Give them back their height and "
    "width with `keras.layers.Reshape((height, width, channels))`, or train with a "
    "method that reads no taps (`minimum_taps` is 0), such as Supervised."
)


def check_student(student, role="student"):
    """Refuses a network whose graph cannot be read, naming the remedy."""
    if not has_graph(student):
        raise ValueError(
            f"The {role} must be a functional or a built Sequential model, because "
            "feature maps are read from its graph. Build it as `keras.Model(inputs, "
            "outputs)`, or begin the Sequential with `keras.Input(shape)`. Received: "
            f"{role}={student!r}"
        )
    if getattr(student, "preprocessor", None) is not None:
        raise ValueError(
            f"The {role} preprocesses images in its own `fit` and `predict` alone, not "
            "when it is called. Preprocess the data instead: "
            "`dataset.map(task.preprocessor)`, then set `task.preprocessor = None`. "
            f"Received: {role}={student.name!r} with a preprocessor"
        )
    check_input_and_output(student, role)


def check_input_and_output(student, role):
    """Refuses a network with several inputs or outputs, or images of unknown size."""
    if len(student.inputs) != 1 or len(student.outputs) != 1:
        raise ValueError(
            f"The {role} must have one image input and one logits output. Received: "
            f"{role}={student.name!r} with {len(student.inputs)} inputs and "
            f"{len(student.outputs)} outputs"
        )
    outputs = student.outputs[0]
    if not isinstance(student, keras.Sequential):
        outputs = student.output
    if isinstance(outputs, (dict, list, tuple)):
        raise ValueError(
            f"The {role} must return its logits, not a {type(outputs).__name__} of "
            "them. Build it as `keras.Model(inputs, logits)`. Received: "
            f"{role}={student.name!r}"
        )
    shape = student.inputs[0].shape
    if len(shape) == 4 and None in shape[1:]:
        raise ValueError(
            f"The {role}'s input size must be known, because the self-teacher's "
            f"pyramid is built for it. Build the {role} with a full "
            f"`input_shape=(height, width, channels)`. Received: input shape {shape}"
        )


def check_calls(calls):
    """Refuses channels-first layers."""
    for call in calls:
        if getattr(call.layer, "data_format", None) == "channels_first":
            raise ValueError(
                "All layers must be channels_last (batch, height, width, channels). "
                f"Received: layer {call.path!r} with data_format='channels_first'"
            )


def check_logits(calls, output, role, name):
    """Refuses outputs that are not logits, whatever function makes them."""
    calls = used_calls(calls, output)
    kind = kind_of_probabilities(end_on_random_numbers(calls, output)) if calls else ""
    if kind:
        raise ValueError(
            f"The {role} must output logits, but it ends in {kind}. Build it with "
            "`classifier_activation=None` (or without the last activation) and a loss "
            f"with `from_logits=True`. Received: {role}={name!r}, which ends in "
            f"{calls[-1].path!r}"
        )


def end_on_random_numbers(calls, output):
    """What the last layer with weights, and all after it, make of large numbers.

    Its weights are random too, or a head that begins at 0 would not show its function.
    """
    last = max((i for i, call in enumerate(calls) if call.has_weights), default=0)
    made = {id(t) for call in calls[last:] for t in tensors_in(call.output)}
    needed = {id(t): t for call in calls[last:] for t in call.inputs}
    inputs = [tensor for key, tensor in needed.items() if key not in made]
    end = keras.Model(inputs, output, name="end")
    random = np.random.default_rng(0)
    examples = 8 if len(output.shape) == 2 else 1  # Of pixels one image has many.

    def numbers(tensor):
        shape = [size or 8 for size in tensor.shape[1:]]
        shape = [tensor.shape[0] or examples, *shape]
        drawn = random.normal(scale=10.0, size=shape)
        return keras.ops.convert_to_tensor(drawn, dtype=tensor.dtype)

    def weight(variable, change=np.array):
        if "float" not in variable.dtype:
            return variable.value
        # Scaled, so that large logits stay below where exp overflows.
        inputs = np.prod(variable.shape[:-1])
        return change(random.normal(size=variable.shape)) / np.sqrt(inputs)

    logits, _ = end.stateless_call(
        [weight(variable) for variable in end.trainable_variables],
        # Variances among them.
        [weight(variable, np.abs) for variable in end.non_trainable_variables],
        [numbers(tensor) for tensor in inputs],
        training=False,
    )
    return keras.ops.convert_to_numpy(keras.ops.cast(logits, "float32"))


def kind_of_probabilities(outputs):
    """What outputs for widely varying inputs are instead of logits, or `None`."""
    if not np.any(outputs):
        return None
    if np.all((outputs > -1e-3) & (outputs < 1 + 1e-3)):
        return "probabilities: all it says lies in [0, 1]"
    if np.all(outputs <= 0):
        return "log-probabilities: nothing it says is above 0"
    return None


def check_images_are_kept(inputs, calls, name):
    """Refuses layers before the first kernel that change equal images differently."""
    kernel = next((call for call in calls if call.has_kernel), None)
    if kernel is None:
        return
    start = keras.Model(inputs, kernel.inputs, name="start")
    scale = 1.0 if "float" in inputs[0].dtype else 255.0
    image = np.random.default_rng(0).uniform(0, scale, (1, *inputs[0].shape[1:]))
    images = np.repeat(image, inputs[0].shape[0] or 16, axis=0)
    # Not a call: it would move the student's seeds.
    outputs, _ = start.stateless_call(
        [variable.value for variable in start.trainable_variables],
        [variable.value for variable in start.non_trainable_variables],
        keras.ops.convert_to_tensor(images, dtype=inputs[0].dtype),
        training=True,
    )
    outputs = [keras.ops.convert_to_numpy(out) for out in keras.tree.flatten(outputs)]
    if not all(np.allclose(out[:1], out, atol=1e-6, equal_nan=True) for out in outputs):
        raise ValueError(
            "This method compares several views of an image, which random layers "
            "inside the student would each change in another way. Put them into the "
            "data pipeline, `dataset.map(lambda x, y: (augment(x, training=True), y))`,"
            f" and build the student without. Received: student={name!r}, which "
            f"changes equal images differently before {kernel.path!r}"
        )


def warn_if_frozen(inputs, taps, name):
    """Warns where nothing before the taps is trained."""
    if not keras.Model(inputs, taps, name="before_taps").trainable_weights:
        warnings.warn(
            f"No layer before the taps of student {name!r} is trainable, so what this "
            "method teaches them changes nothing, and costs its time. Set "
            "`layer.trainable = True` for some of them, then compile again; or train "
            "with a method that reads no taps, such as Supervised.",
            stacklevel=2,
        )
