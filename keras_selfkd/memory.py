"""What a method remembers of each example, or of each class."""

import keras
import tensorflow as tf
from keras import ops

from keras_selfkd.arguments import check_integer
from keras_selfkd.distributed.replicas import write_rows


@keras.saving.register_keras_serializable(package="keras_selfkd")
class ExampleMemory(keras.layers.Layer):
    """A row of numbers for each example, the same on all replicas and workers.

    Make it in a method's `attach`, read it in `prepare` or `loss_terms`, and write it
    in `after_step`, which runs for finite steps alone. It is saved with the method. It
    takes `examples * width * 4` bytes in float32, here and in each checkpoint.

    Args:
        examples: Integer, the number of rows.
        width: Integer, the numbers of a row, such as classes.
        initializer: Keras initializer of all rows. Defaults to "zeros".
        dtype: Of the rows as they are kept, such as "float16". Defaults to that of
            other weights.

    Raises:
        ValueError: for sizes that are no integers above 0.

    Example:

    >>> memory = ExampleMemory(4, 2)
    >>> memory.write([3, 1], [[1.0, 2.0], [3.0, 4.0]])
    >>> print(memory.read([1, 0]).numpy())
    [[3. 4.]
     [0. 0.]]
    """

    def __init__(self, examples, width, *, initializer="zeros", **kwargs):
        super().__init__(**{"trainable": False, **kwargs})
        check_integer(examples=examples, width=width)
        self.examples = examples
        self.width = width
        self.initializer = keras.initializers.get(initializer)
        self.rows = self.add_weight(
            (examples, width), self.initializer, trainable=False, name="rows"
        )
        self.built = True

    def read(self, index):
        """The rows of examples: floats `(batch, width)` for integers `(batch,)`.

        Raises:
            tf.errors.InvalidArgumentError: for an index out of range.
        """
        rows = ops.take(self.rows, self._checked(index), axis=0)
        return ops.cast(rows, keras.config.floatx())

    def write(self, index, values):
        """Puts `(batch, width)` values in the rows of examples; all replicas' do.

        Raises:
            ValueError: for values of another shape.
            tf.errors.InvalidArgumentError: for an index out of range, or one that
                stands more than once among a replica's.
        """
        values = ops.cast(values, self.rows.dtype)
        if tuple(values.shape[1:]) != (self.width,):
            raise ValueError(
                f"Expected values of shape (batch, {self.width}). "
                f"Received: values with shape {tuple(values.shape)}"
            )
        write_rows(self.rows.value, each_once(self._checked(index)), values)

    @property
    def nbytes(self):
        """Integer, what the rows take, in memory and in each checkpoint."""
        return self.examples * self.width * tf.as_dtype(self.rows.dtype).size

    def _checked(self, index):
        index = ops.cast(index, "int64")
        message = f"Expected each index to lie in [0, {self.examples}). Received:"
        fits = tf.reduce_all((index >= 0) & (index < self.examples))
        with tf.control_dependencies([tf.debugging.Assert(fits, [message, index])]):
            return tf.identity(index)

    def get_config(self):
        return {
            **super().get_config(),
            "examples": self.examples,
            "width": self.width,
            "initializer": keras.saving.serialize_keras_object(self.initializer),
        }


def each_once(index):
    """Asserts that no index repeats: which row should stay?"""
    in_order = tf.sort(index)
    once = tf.reduce_all(in_order[1:] != in_order[:-1])
    message = (
        "Expected each index once in a batch. Batch before `repeat`, so that no batch "
        "crosses the end of an epoch. Received:"
    )
    with tf.control_dependencies([tf.debugging.Assert(once, [message, index])]):
        return tf.identity(index)
