"""What a method is: the hooks of one training step, and plain training as a method."""

import contextlib
import inspect

import keras

from keras_selfkd.distributed.layers import layers_in
from keras_selfkd.mixing import Mixing
from keras_selfkd.pixels import is_dense
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

    def averaged_weights(self, student):
        """`{id(variable): average}` of a student's weights that it keeps averages of.

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


def check_method(student, method):
    """Refuses what is no method object: a class, a name, or swapped arguments."""
    if isinstance(method, Method):
        return
    expected = "a method object, such as `Supervised()`"
    if isinstance(student, Method):
        expected += ", after the student: `SelfDistillationModel(student, method)`"
    elif isinstance(method, type):
        expected += f": write `{method.__name__}()`, with parentheses"
    raise ValueError(f"Expected method to be {expected}. Received: method={method!r}")


def check_kind(method, logits):
    """Refuses pixel students for methods of classes alone, and tokens to be mixed."""
    if len(logits.shape) == 3 and method.mixing is not None:
        raise ValueError(
            "Mixing needs classes, or pixels at their height and width, not tokens. "
            "Reshape the logits with `keras.layers.Reshape((height, width, classes))`. "
            f"Received: logits {tuple(logits.shape)} and mixing={method.mixing!r}"
        )
    if is_dense(logits) and not method.dense:
        raise ValueError(
            f"{type(method).__name__} is for classifiers, not for students that "
            f"predict pixels. Received: logits {tuple(logits.shape)}"
        )


def tell_labels(method, multi_label):
    """Tells a method the kind of labels that it trains on; refuses what it cannot."""
    if multi_label and method.exclusive:
        raise ValueError(
            f"{type(method).__name__} needs labels that exclude each other. Received: "
            "a compiled loss in which each logit is a yes or no of its own"
        )
    method.multi_label = multi_label


@contextlib.contextmanager
def free_if_it_fails(method):
    """Inside, a method is attached; after an error it is as free as it was before."""
    layers = [method, *layers_in(method)]  # It may hold another method.
    free = [one for one in layers if isinstance(one, Method) and not one.built]
    try:
        yield
    except Exception:
        for one in free:
            one.built = False
        raise


@contextlib.contextmanager
def dtype_policy(policy):
    """Layers made inside get this policy, whatever the global one is."""
    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(previous)


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
