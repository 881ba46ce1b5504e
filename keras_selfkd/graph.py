"""A student's graph as a flat list of layer calls, nested models included."""

import math
from typing import Any, NamedTuple

import keras


class Call(NamedTuple):
    """One layer call: `output = layer(inputs)`, at `path` in the student.

    A nested model adds one further call under its own name, with `layer=None`.
    """

    path: str
    layer: Any
    inputs: list
    output: Any

    @property
    def has_weights(self):
        return bool(getattr(self.layer, "weights", ()))

    @property
    def has_kernel(self):
        weights = getattr(self.layer, "weights", ())
        return any(len(weight.shape) > 1 for weight in weights)


def has_graph(model):
    """Whether `model` is functional or a built `Sequential`."""
    if isinstance(model, keras.Sequential):
        return model.built
    return isinstance(model, keras.Model) and hasattr(model, "operations")


def run_layers(model, inputs, calls, prefix=""):
    """Calls a model's own layers on `inputs`, nested models layer by layer.

    A nested model whose layers ran before (a part called twice) is called whole:
    Keras cannot clone a graph on tensors that its own layers made.

    Args:
        model: Functional or `Sequential` model.
        inputs: `KerasTensor` (or a structure of them) to run on.
        calls: List; every layer call is appended to it in topological order.
        prefix: Path of the model inside the outermost one.

    Returns:
        The model's output on `inputs`.
    """

    def call(layer, *args, **kwargs):
        path = unique_path(prefix + layer.name, calls)
        if has_graph(layer) and not ran_before(layer, calls):
            output = run_layers(layer, args[0], calls, f"{path}/")
            calls.append(Call(path, None, [], output))
            return output
        output = layer(*args, **kwargs)
        calls.append(Call(path, layer, tensors_in((args, kwargs)), output))
        return output

    if isinstance(model, keras.Sequential):
        for layer in model.layers:
            inputs = call(layer, inputs)
        return inputs
    return run_functional(model, inputs, call)


def run_functional(model, inputs, call):
    """Runs the layers of a functional model on `inputs`, each by `call(layer, ...)`."""
    # The clone's own outputs are copies when its inputs are intermediate tensors,
    # so a last layer is added that takes what the model's layers returned.
    end = keras.layers.Identity()
    returned = []

    def call_until(layer, *args, **kwargs):
        if layer is not end:
            return call(layer, *args, **kwargs)
        returned.append(args[0])
        return args[0]

    keras.models.clone_model(
        keras.Model(model.input, end(model.output)),
        input_tensors=like_inputs(model, inputs),
        clone_function=lambda layer: layer,
        call_function=call_until,
    )
    return returned[0]


def ran_before(model, calls):
    ran = {id(call.layer) for call in calls}
    return any(id(layer) in ran for layer in model.layers)


def like_inputs(model, tensors):
    """Tensors in the structure that a model takes, for example a list of one."""
    tensors = keras.tree.flatten(tensors)
    # A `Sequential` takes one tensor, and has no `input` before it was called.
    if isinstance(model, keras.Sequential):
        return tensors[0]
    return keras.tree.pack_sequence_as(model.input, tensors)


def unique_path(path, calls):
    """The n-th further call of a layer is named `path:n`."""
    earlier = sum(call.path.split(":")[0] == path for call in calls)
    return f"{path}:{earlier}" if earlier else path


def tensors_in(structure):
    leaves = keras.tree.flatten(structure)
    return [leaf for leaf in leaves if isinstance(leaf, keras.KerasTensor)]


def used_calls(calls, output):
    """The layer calls that `output` depends on, in topological order."""
    needed = {id(output)}
    used = []
    for call in reversed(calls):
        outputs = tensors_in(call.output)
        if call.layer is not None and any(id(t) in needed for t in outputs):
            needed.update(id(tensor) for tensor in call.inputs)
            used.append(call)
    return used[::-1]


def is_map(tensor):
    """Whether a symbolic tensor is a feature map of more than one position."""
    return (
        isinstance(tensor, keras.KerasTensor)
        and len(tensor.shape) == 4
        and None not in tensor.shape[1:]
        and area(tensor) > 1
    )


def area(tensor):
    return math.prod(tensor.shape[1:3])


def clean_cuts(calls):
    """The calls whose map all that follows depends on alone, the inputs included."""
    last_use = {id(t): i for i, call in enumerate(calls) for t in call.inputs}
    made = {id(t) for call in calls for t in tensors_in(call.output)}
    inputs = [i for key, i in last_use.items() if key not in made]
    return cuts_after(calls, last_use, open_until=max(inputs, default=-1))


def clean_cuts_from(start, calls):
    """Those after the call `start`, where only what comes from it counts.

    Tensors from elsewhere, such as a decoder's skips, are ignored.
    """
    calls = depending_on(start, calls)
    last_use = {id(t): i for i, call in enumerate(calls) for t in call.inputs}
    return cuts_after(calls, last_use, open_until=-1)


def cuts_after(calls, last_use, open_until):
    cuts = []
    for i, call in enumerate(calls):
        if open_until <= i and is_map(call.output):
            cuts.append(call)
        made_here = tensors_in(call.output)
        open_until = max([open_until, *(last_use.get(id(t), i) for t in made_here)])
    return cuts


def depending_on(start, calls):
    """The call `start` and those of `calls` that use what comes from it."""
    reached = {id(tensor) for tensor in tensors_in(start.output)}
    found = [start]
    for call in calls:
        if any(id(tensor) in reached for tensor in call.inputs):
            reached.update(id(tensor) for tensor in tensors_in(call.output))
            found.append(call)
    return found
