"""A student's head, what stands before it, and freezing a part of that."""

import difflib

import keras

from keras_selfkd.graph import run_layers, used_calls


def calls_of(student):
    """The calls of a student's layers, nested ones too, and its symbolic output."""
    shape, dtype = student.inputs[0].shape, student.inputs[0].dtype
    calls = []
    images = keras.Input(batch_shape=shape, dtype=dtype)
    return calls, run_layers(student, images, calls)


def head_of(student):
    """Returns a student's head: its last layer with weights."""
    calls, output = calls_of(student)
    return [call for call in used_calls(calls, output) if call.has_weights][-1].layer


def embedder(student):
    """Returns a model from a student's images to what its head reads.

    Args:
        student: Functional `keras.Model` of classes.

    Returns:
        `keras.Model` with outputs `(batch, features)`: maps are averaged.
    """
    shape, dtype = student.inputs[0].shape, student.inputs[0].dtype
    images, calls = keras.Input(batch_shape=shape, dtype=dtype), []
    output = run_layers(student, images, calls)
    head = [call for call in used_calls(calls, output) if call.has_weights][-1]
    (features,) = head.inputs
    while len(features.shape) > 2:
        features = keras.ops.mean(features, axis=1)
    return keras.Model(images, features)


def backbone_paths(student):
    """Returns the paths of the trainable variables before a student's head.

    Raises:
        ValueError: If there are none, as all layers before the head are frozen.
    """
    heads = {id(variable) for variable in head_of(student).weights}
    paths = [v.path for v in student.trainable_variables if id(v) not in heads]
    if not paths:
        raise ValueError(
            "Expected --backbone_rate where layers before the head are trained. "
            "Received: --freeze_until, which freezes all of them"
        )
    return paths


def freeze_until(student, name):
    """Freezes the layer of a name and all that it depends on, BatchNorm included.

    Args:
        student: Functional `keras.Model`.
        name: A layer's path, such as a tap: `"backbone/layer"` in a nested model.

    Raises:
        ValueError: If there is no such layer, or the head is among them.
    """
    calls, _ = calls_of(student)
    outputs = {call.path: call.output for call in calls}
    if name not in outputs:
        close = difflib.get_close_matches(name, outputs, n=3, cutoff=0.3)
        raise ValueError(
            f"Expected --freeze_until to be a layer of {student.name}. Closest names: "
            f"{', '.join(close) or 'none'}. Received: --freeze_until={name}"
        )
    frozen = [call.layer for call in used_calls(calls, outputs[name])]
    head = head_of(student)
    if any(layer is head for layer in frozen):
        raise ValueError(
            f"Expected --freeze_until to be a layer before the head {head.name!r}, "
            f"which is to be trained. Received: --freeze_until={name}"
        )
    for layer in frozen:
        layer.trainable = False
