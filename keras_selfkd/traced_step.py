"""A training step that notes its tensors while it is traced."""

import contextlib
from typing import NamedTuple

import keras
import tensorflow as tf

from keras_selfkd.distributed.update import Writes
from keras_selfkd.method import Method
from keras_selfkd.pixels import is_dense
from keras_selfkd.supervision import Supervision

# Keys of a batch that `prepare` gets; what it adds are its own.
_GIVEN = ("x", "y", "sample_weight", "labelled", "valid", "progress", "copies")


class Point(NamedTuple):
    """A tensor with a name.

    Attributes:
        group: `"student"`, a part of the method, `"prepared"` by the method before the
            student's forward pass, `"memory"` of the method, or `"data"`.
        name: What it is in its group: a tap's layer, `"logits"`, `"labels"`, ...
        shape: Tuple, without the batch.
    """

    group: str
    name: str
    shape: tuple


def parts_of(method):
    """`{name: layer}` of the layers with weights that a method holds.

    A method inside of another is not a part: its parts are.
    """
    parts = {}
    for name, value in vars(method).items():
        if name.startswith("_"):
            continue
        listed = isinstance(value, (list, tuple))
        for i, layer in enumerate(value if listed else [value]):
            if isinstance(layer, Method):
                parts |= parts_of(layer)
            elif isinstance(layer, keras.Layer) and layer.weights:
                parts[f"{name}[{i}]" if listed else name] = layer
    return parts


class TracedStep:
    """A step as a function of a batch, to be traced once.

    Args:
        model: `SelfDistillationModel`, compiled or not.

    Attributes:
        batch: Dict of the `tf.TensorSpec`s that it is to be traced for.
        parts: What `parts_of` says of the method.
        weights: Dict from term to its weight, as `method.loss_weights`.
        points: Dict from a tensor's name to its `Point`, after tracing.
        calls: For each part the list of its calls, `(inputs, outputs)`.
        terms: Dict of the tensors that `loss_terms` returned.
    """

    def __init__(self, model):
        self.model = model
        self.parts = parts_of(model.method)
        self.calls = {name: [] for name in self.parts}
        self.points, self.terms = {}, {}
        self.weights = model.method.loss_weights
        self.batch = self._batch()

    def _batch(self):
        """Dict of the `tf.TensorSpec`s of a batch, as if the data had all keys."""
        (images,), (logits,) = self.model.student.inputs, self.model.student.outputs
        sizes = (None, *logits.shape[1:-1])
        yes_or_no = logits.shape[-1] == 1 or self.model.method.multi_label
        labels = (
            ((*sizes, logits.shape[-1]), "float32") if yes_or_no else (sizes, "int32")
        )
        images = (None, *images.shape[1:]), images.dtype
        beside = {"index": "int32", "previous": "int32", "pair": images, "view": images}
        specs = {"x": images, "y": labels}
        for key in self.model.method.needs:
            kind = beside[key]
            specs[key] = ((None,), kind) if isinstance(kind, str) else kind
        return {key: tf.TensorSpec(*spec) for key, spec in specs.items()}

    def __call__(self, batch):
        method, tapped = self.model.method, self.model.outputs_of
        self._note("data", {"labels": batch["y"]})
        given = {"sample_weight": None, "labelled": None, "valid": None}
        given |= {"progress": tf.constant(1.0), "copies": tf.constant(1)}
        with Writes(), _begun(method), self._noted_calls():
            batch = method.prepare({**batch, **given})
            own = {key: batch[key] for key in batch if key not in self.batch}
            self._note("prepared", {k: own[k] for k in own if k not in _GIVEN})
            student = tapped(batch["x"], training=True)
            taps = dict(zip(self.model.taps, student.features, strict=True))
            ends = {"embedding": student.embedding, "logits": student.logits}
            self._note("student", {**taps, **ends})
            self.terms = method.loss_terms(student, batch, Supervision(self._loss()))

    def _loss(self):
        """A loss for the labels of `batch`: which terms there are depends on none."""
        if self.batch["y"].dtype.is_floating:
            return keras.losses.BinaryCrossentropy(from_logits=True)
        return keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def _note(self, group, named):
        """Gives names to the tensors of several numbers an image."""
        for name, tensors in named.items():
            tensors = [x for x in tf.nest.flatten(tensors) if tf.is_tensor(x)]
            tensors = [x for x in tensors if x.shape.rank > 1 or group == "data"]
            for i, tensor in enumerate(tensors):
                own = f"{name} {i + 1}" if len(tensors) > 1 else name
                point = Point(group, own, tuple(tensor.shape[1:]))
                self.points.setdefault(tensor.name, point)

    @contextlib.contextmanager
    def _noted_calls(self):
        """Inside, what the method's parts read and return is noted."""
        for name, layer in self.parts.items():
            layer.call = self._noting(name, layer.call)
        try:
            yield
        finally:
            for layer in self.parts.values():
                del layer.call

    def _noting(self, name, call):
        def noting(inputs, *args, **kwargs):
            outputs = call(inputs, *args, **kwargs)
            tensors = tf.nest.flatten(outputs)
            self.calls[name].append((tf.nest.flatten(inputs), tensors))
            kinds = [self._kind(tensor) for tensor in tensors]
            for kind in dict.fromkeys(kinds):
                alike = [x for x, k in zip(tensors, kinds, strict=True) if k == kind]
                self._note(name, {kind: alike})
            return outputs

        return noting

    def _kind(self, tensor):
        logits = self.model.student.outputs[0]
        is_map = tensor.shape.rank == 4
        if tensor.shape[-1] == logits.shape[-1] and is_map == is_dense(logits):
            return "logits"
        return "map" if is_map else "output"


@contextlib.contextmanager
def _begun(method):
    """Inside, a method that begins at some time has begun."""
    held = [one for one in vars(method).values() if isinstance(one, Method)]
    before = {one: one.begun for one in [method, *held]}
    try:
        for one in before:
            one.begun = True
        yield
    finally:
        for one, begun in before.items():
            one.begun = begun
