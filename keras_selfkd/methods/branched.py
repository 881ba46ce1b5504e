"""What methods share that grow branches on the taps."""

from keras import layers

from keras_selfkd import networks
from keras_selfkd.method import Method
from keras_selfkd.pixels import is_dense, resized_like


class Branched(Method):
    """A second way from each tap but the last to a last map and to logits.

    The branches are early exits, too: `model.exits()`.
    """

    minimum_taps = 2

    def grow(self, outputs, build):
        """Creates `branches` by a function of `networks`."""
        self._last = networks.last_tap(outputs)
        self.branches = build(outputs, self._last)

    def branch_outputs(self, student):
        """Pairs of map and logits: of each branch, then of the student itself."""
        ends = [
            branch(tap, training=True)
            for branch, tap in zip(self.branches, self._branched(student), strict=True)
        ]
        ends.append((student.features[self._last], student.logits))
        return [(tap, resized_like(z, student.logits)) for tap, z in ends]

    def exits(self, outputs):
        ends = zip(self.branches, self._branched(outputs), strict=True)
        return [as_large_as(outputs.logits, branch(tap)[1]) for branch, tap in ends]

    def _branched(self, outputs):
        """The taps that have a branch."""
        return [tap for i, tap in enumerate(outputs.features) if i != self._last]


def as_large_as(reference, logits):
    """Symbolic logits, resized to the student's where those are of pixels."""
    size = reference.shape[1:3]
    if not is_dense(logits) or logits.shape[1:3] == size:
        return logits
    return layers.Resizing(*size, name="resize")(logits)
