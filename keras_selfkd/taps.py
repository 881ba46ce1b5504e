"""Finding feature maps in any functional model, and reading them.

A *tap* is a feature map of the student that a method listens to. Reading taps
shares every layer of the student, costs nothing and adds nothing to it.
"""

import difflib
from typing import Any, NamedTuple

import keras

from keras_selfkd import students
from keras_selfkd.default_taps import default_taps
from keras_selfkd.graph import (
    is_map,
    run_layers,
    tensors_in,
    used_calls,
)
from keras_selfkd.students import TOKENS


class Tapped:
    """A student that returns its taps beside its logits, sharing its layers.

    A plain object, so that a model which holds it does not save the student twice.

    Args:
        student: Functional or `Sequential` Keras model, one image input, one
            logits output.
        taps: List of layer paths, fine to coarse, or `None` for the default taps.
        minimum: Integer, the number of taps that the method needs.
        role: What messages call it. Defaults to "student".
        logits: Boolean, whether its output must be logits. Defaults to True.

    Raises:
        ValueError: if the student's graph cannot be read, its output is not
            logits, it has too few maps, or a tap is unknown.
    """

    def __init__(self, student, taps=None, minimum=0, role="student", logits=True):
        students.check_student(student, role)
        inputs = keras.Input(
            batch_shape=student.inputs[0].shape, dtype=student.inputs[0].dtype
        )
        calls = []
        output = run_layers(student, inputs, calls)
        students.check_calls(calls)
        if logits:
            students.check_logits(calls, output, role, student.name)
        if taps is None:
            taps = default_taps(calls, output) if minimum else []
        check_enough(taps, minimum, calls, output, f"{role}={student.name!r}")
        self.names = list(taps)
        features = [map_at(path, calls) for path in self.names]
        self._calls = used_calls(calls, output)
        self._name = student.name
        self.symbolic = Outputs(output, features, embedding_of(calls, output))
        self.model = keras.Model(inputs, self.symbolic.tensors())
        kernels = (call.layer for call in calls if call.has_kernel)
        self.dtype_policy = next(kernels, student).dtype_policy

    def __call__(self, images, training=False):
        """Returns the `Outputs` for `(batch, height, width, channels)` images."""
        tensors = self.model(images, training=training)
        return self.symbolic.pack(keras.tree.flatten(tensors))

    def check_images_are_kept(self):
        """Refuses random layers that change the student's images."""
        students.check_images_are_kept(self.model.inputs, self._calls, self._name)

    def warn_if_frozen(self):
        """Warns where no layer before the taps is trained, now."""
        taps = self.symbolic.features
        students.warn_if_frozen(self.model.inputs, taps, self._name)


def check_enough(taps, minimum, calls, output, name):
    """Refuses fewer taps than a method needs, and tokens where it needs any."""
    if minimum and len(output.shape) == 3:
        raise ValueError(f"{TOKENS} Received: {name} with output {output.shape}")
    if len(taps) < minimum:
        ranks = {len(t.shape) for call in calls for t in tensors_in(call.output)}
        hint = f" {TOKENS}" if 3 in ranks else ""
        raise ValueError(
            f"Expected at least {minimum} taps (feature maps of different sizes). "
            f"Received: taps={list(taps)} for {name}. Name the layers to read with "
            "`taps=[...]`, fine to coarse; its maps are: "
            f"{', '.join(map_paths(calls)) or 'none'}.{hint}"
        )


def map_paths(calls):
    return [call.path for call in calls if is_map(call.output)]


def map_at(path, calls):
    """The feature map that the layer at `path` returns."""
    found = {call.path: call.output for call in calls}
    if path not in found:
        close = difflib.get_close_matches(path, map_paths(calls), n=3, cutoff=0.3)
        raise ValueError(
            f"Unknown tap {path!r}. Closest names: {', '.join(close) or 'none'}. "
            'A layer of a nested model is named by its path: "backbone/layer".'
        )
    if not is_map(found[path]):
        shape = getattr(found[path], "shape", "several outputs")
        raise ValueError(
            "A tap must be a feature map (batch, height, width, channels) of more than "
            f"one position. {TOKENS} Received: tap {path!r} with shape {shape}"
        )
    return found[path]


def embedding_of(calls, logits):
    """The input of the student's last Dense, `(batch, dim)`, or `None`."""
    weighted = [call for call in used_calls(calls, logits) if call.has_weights]
    head = weighted[-1] if weighted else None
    if head is None or not isinstance(head.layer, keras.layers.Dense):
        return None
    return head.inputs[0] if len(head.inputs[0].shape) == 2 else None


class Outputs(NamedTuple):
    """What a network says about a batch.

    Attributes:
        logits: Tensor `(batch, classes)`, or `(batch, height, width, classes)` for
            pixel students.
        features: List of taps `(batch, height, width, channels)`, fine to coarse.
        embedding: Input of the last Dense, `(batch, dim)`; `None` where the
            student does not end in one.
    """

    logits: Any
    features: list
    embedding: Any = None

    def tensors(self):
        """Flat list: logits, features and, where there is one, the embedding."""
        embedding = [] if self.embedding is None else [self.embedding]
        return [self.logits, *self.features, *embedding]

    def pack(self, tensors):
        """Other tensors, in the order of `tensors()`, as `Outputs` like this one."""
        last = len(self.features) + 1
        embedding = None if self.embedding is None else tensors[last]
        return Outputs(tensors[0], list(tensors[1:last]), embedding)

    def split(self, views):
        """Cuts a batch of concatenated views into one `Outputs` a view."""
        parts = [keras.ops.split(tensor, views) for tensor in self.tensors()]
        return [self.pack(view) for view in zip(*parts, strict=True)]
