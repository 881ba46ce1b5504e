"""What a method hangs on a student, read off one traced step.

The step is traced, not run: no weight, memory or random state changes. Every term is
followed back to the tensors it is computed from, up to the nearest that has a name.
What is reached without passing `stop_gradient`, or a whole number, learns from the
term; what is reached through one of them teaches.
"""

from typing import NamedTuple

import keras
import tensorflow as tf

from keras_selfkd.traced_step import Point, TracedStep


class Part(NamedTuple):
    """A layer of the method that has weights.

    Attributes:
        name: The attribute that holds it, `"branches[0]"` in a list.
        layer: Keras layer, mostly a model.
        reads: For each of its inputs the tuple of `Point`s that it is computed from,
            nothing where the step does not call it.
        returns: Tuple of the `Point`s of its outputs.
    """

    name: str
    layer: keras.Layer
    reads: tuple = ()
    returns: tuple = ()


class Term(NamedTuple):
    """A named loss.

    Attributes:
        name: As in `method.terms`.
        learns: Tuple of the `Point`s that get its gradient.
        teaches: Tuple of the `Point`s that it depends on without one.
    """

    name: str
    learns: tuple
    teaches: tuple


class Structure(NamedTuple):
    """What hangs where.

    Attributes:
        student: Tuple of the student's `Point`s, in the order they are computed in.
        parts: Tuple of the method's `Part`s.
        terms: Tuple of its `Term`s.
    """

    student: tuple
    parts: tuple
    terms: tuple


def structure_of(model):
    """Traces a step of a `SelfDistillationModel`, compiled or not.

    Returns:
        `Structure`. Methods that begin later are shown as they are then.
    """
    step = TracedStep(model)
    graph = tf.function(step, autograph=False).get_concrete_function(step.batch).graph
    points = {**step.points, **memories_in(graph, model.method, step.parts)}
    order = {operation.name: i for i, operation in enumerate(graph.get_operations())}
    own = [name for name, point in points.items() if point.group == "student"]
    own.sort(key=lambda name: order[name.split(":")[0]])
    terms = [term_of(name, step.terms[name], points) for name in step.weights]
    return Structure(
        tuple(points[name] for name in own),
        tuple(part_of(name, step, points) for name in step.parts),
        tuple(terms),
    )


def part_of(name, step, points):
    """A part, with what all its calls read and what the first returned."""
    calls = step.calls[name]
    others = {key: point for key, point in points.items() if point.group != name}
    inputs = zip(*(given for given, _ in calls), strict=True)
    reads = tuple(tuple(sources_of(one, others)) for one in inputs)
    returned = calls[0][1] if calls else []
    returns = tuple(points[tensor.name] for tensor in returned)
    return Part(name, step.parts[name], reads, returns)


def term_of(name, value, points):
    """A term, by the value that the step computed for it."""
    found = sources_of([tf.convert_to_tensor(value)], points)
    learns = tuple(point for point, how in found.items() if True in how)
    teaches = tuple(point for point, how in found.items() if False in how)
    return Term(name, learns, teaches)


def memories_in(graph, method, parts):
    """Points of the numbers beside its parts that a method's step reads."""
    of_parts = {id(v) for layer in parts.values() for v in layer.variables}
    own = [v for v in method.variables if id(v) not in of_parts and "float" in v.dtype]
    own = [v for v in own if len(v.shape) > 0 and hasattr(v.value, "handle")]
    known = {id(v.value.handle): Point("memory", v.name, tuple(v.shape)) for v in own}
    read = [(inside, known.get(id(outside))) for outside, inside in graph.captures]
    return {inside.name: point for inside, point in read if point is not None}


def sources_of(tensors, points):
    """The nearest points that tensors depend on: `{point: {gets a gradient}}`."""
    found, seen = {}, set()
    left = [(tensor, tensor.dtype.is_floating) for tensor in tensors]
    while left:
        tensor, learns = left.pop()
        if (tensor.name, learns) in seen:
            continue
        seen.add((tensor.name, learns))
        point = points.get(tensor.name)
        if point is not None:
            outside = point.group in ("data", "prepared", "memory")
            found.setdefault(point, set()).add(learns and not outside)
            continue
        if tensor.op.type in ("Shape", "ShapeN", "Size"):
            continue
        passes = learns and tensor.op.type != "StopGradient"
        left += [(x, passes and x.dtype.is_floating) for x in tensor.op.inputs]
    order = [point for point in points.values() if point in found]
    return {point: found[point] for point in order}
