"""A training model that shows what it is made of."""

import keras

from keras_selfkd.graph import has_graph
from keras_selfkd.structure import structure_of
from keras_selfkd.structure_plot import plot_structure
from keras_selfkd.traced_step import parts_of


class ShownModel(keras.Model):
    """Lists, sums up and draws its `student` and what its `method` hangs on `taps`."""

    @property
    def layers(self):
        """The student, the method's networks, and the method itself if it has more."""
        held = parts_of(self.method).values()
        parts = [part for part in held if isinstance(part, keras.Model)]
        known = {id(variable) for part in parts for variable in part.weights}
        more = any(id(variable) not in known for variable in self.method.weights)
        return [self.student, *parts, *([self.method] if more else [])]

    def summary(self, *args, print_fn=None, **kwargs):
        """Keras's own, of student and method's networks; a last line names the taps."""
        super().summary(*args, print_fn=print_fn, **kwargs)
        shapes = [tap.shape[1:] for tap in self._tapped.symbolic.features]
        taps = zip(self.taps, shapes, strict=True)
        listed = ", ".join(f"{name} {shape}" for name, shape in taps)
        (print_fn or print)(f" Taps: {listed or 'none'}")

    def plot(self, path):
        """Draws what hangs where, and what the losses connect: see `plot_structure`.

        Args:
            path: Path of the PNG file to write.
        """
        plot_structure(self, path)

    def training_graph(self):
        """All networks of the training as one functional model, to look at.

        It shares their weights. `keras.utils.plot_model(model.training_graph(),
        show_shapes=True)` draws it, and its `summary()` says what is connected to what.
        What a part reads is connected where it comes as it is, or in the same shape
        (mixed, say); where the method computes something else of it, an input of the
        graph stands for that.

        Returns:
            `keras.Model` from images to logits and what the method's parts return.
        """
        symbolic = self._tapped.symbolic
        features = zip(self.taps, symbolic.features, strict=True)
        ends = {"logits": symbolic.logits, "embedding": symbolic.embedding}
        known = {("student", name): x for name, x in {**dict(features), **ends}.items()}
        inputs, outputs = [*self._tapped.model.inputs], [symbolic.logits]
        for part in structure_of(self).parts:
            if not part.returns:
                continue
            given = [
                self._tensor_for(reads, like, known)
                for reads, like in zip(part.reads, part.layer.inputs, strict=True)
            ]
            inputs += [x for x in given if not any(x is y for y in known.values())]
            returned = keras.tree.flatten(self._named(part)(given))
            for point, tensor in zip(part.returns, returned, strict=True):
                known[point.group, point.name] = tensor
            outputs += returned
        inputs = inputs if len(inputs) > 1 else inputs[0]
        return keras.Model(inputs, outputs, name=f"{self.name}_graph")

    def _named(self, part):
        """A part under a name that no other has."""
        name = part.name.replace("[", "_").replace("]", "")
        name = f"{self.method.name}_{name}"
        if not has_graph(part.layer):
            return part.layer
        return keras.Model(part.layer.inputs, part.layer.outputs, name=name)

    def _tensor_for(self, reads, like, known):
        """The one tensor that a part reads if it is of that shape, else an input."""
        found = [known.get((point.group, point.name)) for point in reads]
        alike = [x for x in found if x is not None and x.shape == like.shape]
        if len(found) == 1 and alike:
            return alike[0]
        return keras.Input(batch_shape=like.shape, dtype=like.dtype)
