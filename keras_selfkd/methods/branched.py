"""What methods share that grow branches on the taps."""

import keras
from keras import layers

from keras_selfkd import networks
from keras_selfkd.method import Method
from keras_selfkd.pixels import is_dense, resized_like


class Branched(Method):
    """A second way from each tap but the last to a last map and to logits.

    The branches are early exits, too: `model.exits()`.

    Attributes:
        exit_terms: Names of the terms that train the branches' logits; a term
            `"feature"` trains their maps.
    """

    minimum_taps = 2
    exit_terms = ("branch_task", "soft_label")

    def grow(self, outputs, build, **options):
        """Creates `branches` by a function of `networks`; what no term uses rests."""
        self._last = networks.last_tap(outputs)
        self.branches = build(outputs, self._last, **options)
        depths = [networks.depth(tap) for tap in self._branched(outputs)]
        self._by_depth = sorted(range(len(depths)), key=depths.__getitem__)
        for branch in self.branches:
            # Without its term a network has no gradient.
            branch.trainable = self._trains("feature", *self.exit_terms)
            if not self._trains(*self.exit_terms):
                branch.layers[-1].trainable = False

    def branch_outputs(self, student):
        """Pairs of map and logits: of each branch, then of the student itself."""
        ends = [
            branch(tap, training=True)
            for branch, tap in zip(self.branches, self._branched(student), strict=True)
        ]
        ends.append((student.features[self._last], student.logits))
        return [(tap, resized_like(z, student.logits)) for tap, z in ends]

    def exits(self, outputs):
        if not self._trains(*self.exit_terms):
            return []
        taps = self._branched(outputs)
        return [
            exit_of(self.branches[i], taps[i], outputs.logits, f"{self.name}_exit{n}")
            for n, i in enumerate(self._by_depth)
        ]

    def _trains(self, *terms):
        return not self.loss_weights.keys().isdisjoint(terms)

    def _branched(self, outputs):
        """The taps that have a branch."""
        return [tap for i, tap in enumerate(outputs.features) if i != self._last]


def exit_of(branch, tap, logits, name):
    """Symbolic logits at a tap, of pixels in the size of the student's.

    Args:
        branch: `keras.Model` from the tap to a map and logits.
        tap: Symbolic map.
        logits: The student's symbolic logits.
        name: What no layer of the student is called.
    """
    z = keras.Model(branch.inputs, branch.outputs[1], name=name)(tap)
    size = logits.shape[1:3]
    if not is_dense(logits) or z.shape[1:3] == size:
        return z
    return layers.Resizing(*size, name=f"{name}_resize")(z)
