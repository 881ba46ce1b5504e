"""What a method is: the hooks of one training step, and plain training as a method."""

import inspect

import keras

from keras_selfkd.mixing import Mixing
from keras_selfkd.terms import in_use


class Method(keras.layers.Layer):
    """Base of all methods. A Layer so that its variables are tracked and saved.

    A training step is `prepare` -> one student forward pass -> `loss_terms` ->
    gradients -> `after_step`. The batch is a dict that only grows: it starts as
    `{"x", "y", "sample_weight", "labelled", "valid", "progress", "copies"}`, with what
    the data set yields beside the images (`"index"`, `"pair"`, `"view"`,
    `"previous"`); `prepare` adds keys, `loss_terms` reads them. `"labelled"` is the
    mask of labels that the compiled loss does not ignore, `(batch,)` or `(batch,
    height, width)`, or `None` where it ignores none; `"valid"` the same for pixels,
    `None` for classes; `"progress"` the share of `fit`'s epochs that lies behind, a
    scalar; `"copies"` the number of replicas that compute the same examples, 1 but for
    a batch of fewer examples than replicas.

    A method never keeps the student as an attribute: it would be saved twice.

    Args:
        mixing: `Mixup` or `CutMix`, which `prepare` applies to each batch, or `None`.

    Attributes:
        minimum_taps: Number of taps the method needs; 0 for methods on logits.
        terms: Names of its losses; see `loss_weights`.
        needs: Keys that the data set must yield beside its images: of `"index"`,
            `"pair"`, `"view"` and `"previous"`.
        dense: Whether it can train pixel students.
        exclusive: Whether labels must exclude each other: one class an image or pixel.
        takes_mixing: Whether it can learn from mixed images.
        compares_views: Whether it compares what the student says of several versions
            of an image, so that the student must not change images at random.
        multi_label: Whether each logit is a yes or no of its own. The model sets it by
            the compiled loss; soft labels depend on it.
        ramped: Names of the terms whose weights a recipe may raise slowly, because what
            teaches by them has to learn first.
        begun: Whether it does more than plain training by now; `False` at first where
            a method begins later.
        warmup_epochs: Epochs in which the learning rate should rise from 0, where a
            recipe does not say; the recipe of plain training beside it gets the same.
    """

    terms = ("task",)
    needs = ()
    minimum_taps = 0
    dense = True
    exclusive = False
    takes_mixing = True
    compares_views = False
    multi_label = False
    ramped = ()
    begun = True
    warmup_epochs = 0

    def __init__(self, mixing=None, **kwargs):
        super().__init__(**kwargs)
        if not isinstance(mixing, (Mixing, type(None))):
            raise ValueError(
                "Expected mixing to be an object such as `Mixup(0.2)` or `CutMix()`. "
                f"Received: mixing={mixing!r}"
            )
        if mixing is not None and not self.takes_mixing:
            raise ValueError(
                f"{type(self).__name__} learns from images of one class each, not from "
                f"mixed ones. Received: mixing={mixing!r}"
            )
        self.mixing = mixing

    def attach(self, student, outputs):
        """Creates the method's own networks for a student. Called once, by the model.

        Args:
            student: The user's Keras model; read it, do not keep it.
            outputs: Symbolic `Outputs` of the student.

        Raises:
            ValueError: on a second call, because the networks belong to one student.
        """
        if self.built:
            raise ValueError(
                f"{self.name} already belongs to a student. Create a new "
                f"{type(self).__name__} for {student.name!r}."
            )
        self.built = True

    @property
    def loss_weights(self):
        """`{term: float | Ramp | LearningRateSchedule}` of the terms in use.

        The weight of a term is the attribute `<term>_weight`, 1 where there is none; a
        term of weight 0 is left out.
        """
        return in_use(
            {term: getattr(self, f"{term}_weight", 1.0) for term in self.terms}
        )

    @property
    def resting(self):
        """List of the method's trainable weights that a step leaves as they are."""
        return []

    def begin_epoch(self, epoch, epochs):
        """Called by `fit` before each epoch.

        Args:
            epoch: Number of the epoch, from 0 on, those before a resume included.
            epochs: Number of epochs of the whole `fit`.

        Returns:
            Whether the method does another thing from here on, so that its step must
            be traced again.
        """
        return False

    def prepare(self, batch):
        """Adds views, mixing or frozen targets to the batch, outside the tape.

        `"y"`, `"sample_weight"` and `"valid"` of what it returns belong to the first
        view. Labels of mixed images are `MixedLabels`, which `supervise` takes.
        """
        return batch if self.mixing is None else self.mixing.mix(batch)

    def loss_terms(self, student, batch, supervise):
        """Computes the unweighted terms of the loss.

        Args:
            student: `Outputs` of the student for `batch["x"]`.
            batch: The dict that `prepare` returned.
            supervise: Function `(y, logits) -> loss`, the compiled loss unreduced.

        Returns:
            Dict with the keys of `loss_weights`, at least; each value is a scalar,
            `(batch,)` or `(batch, height, width)`.
        """
        raise NotImplementedError(f"{type(self).__name__} must define `loss_terms`.")

    def after_step(self, student, batch):
        """Updates memories and moving averages after the weights have changed."""

    def exits(self, outputs):
        """Symbolic logits of the student's early exits, the shallowest first.

        Empty where the method trains none.

        Args:
            outputs: Symbolic `Outputs` of the student.
        """
        return []

    def averaged_weights(self):
        """`{id(variable): average}` of the student's weights that it keeps averages of.

        Empty where it keeps none.
        """
        return {}

    @classmethod
    def for_pixels(cls, **arguments):
        """The method with the paper's settings for masks, where they are others."""
        return cls(**arguments)

    def get_config(self):
        """The constructor's arguments, which are attributes of the same names."""
        arguments = {name: getattr(self, name) for name in arguments_of(type(self))}
        serialize = keras.saving.serialize_keras_object
        return {
            **super().get_config(),
            **{name: serialize(value) for name, value in arguments.items()},
        }

    @classmethod
    def from_config(cls, config):
        parts = {
            name: keras.saving.deserialize_keras_object(value)
            for name, value in config.items()
        }
        return cls(**parts)


def arguments_of(method):
    """Names of the arguments that a class of methods takes, its parents' included.

    Example:

    >>> from keras_selfkd import FRSKD, FRSKD_SLA, MixSKD, NFD
    >>> ["width" in arguments_of(method) for method in (FRSKD, FRSKD_SLA, NFD, MixSKD)]
    [True, True, True, False]
    """
    names = []
    for parent in method.__mro__[: -len(keras.layers.Layer.__mro__)]:
        parameters = inspect.signature(parent.__init__).parameters
        own = [name for name in parameters if name not in ("self", "kwargs")]
        # A class that repeats some of its parent's arguments repeats all it takes.
        if not set(own) & set(names):
            names += own
    return names


@keras.saving.register_keras_serializable(package="keras_selfkd")
class Supervised(Method):
    """Plain training as a method: the baseline of every comparison.

    Args:
        mixing: `Mixup` or `CutMix`, or `None`.

    Example:

    >>> import keras, keras_selfkd
    >>> images = keras.Input((8, 8, 1))
    >>> logits = keras.layers.Dense(10)(keras.layers.Flatten()(images))
    >>> student = keras.Model(images, logits)
    >>> model = keras_selfkd.SelfDistillationModel(student, keras_selfkd.Supervised())
    >>> model.method.loss_weights
    {'task': 1.0}
    """

    def loss_terms(self, student, batch, supervise):
        return {"task": supervise(batch["y"], student.logits)}
