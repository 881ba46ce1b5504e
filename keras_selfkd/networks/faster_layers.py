"""Keras layers that train faster, with the same weights and numbers.

Inference is Keras's own, and so is what an exported file holds.
"""

import keras
import tensorflow as tf
from keras import ops


@keras.saving.register_keras_serializable(package="keras_selfkd")
class FusedBatchNormalization(keras.layers.BatchNormalization):
    """BatchNormalization of `(batch, height, width, channels)` in one operation.

    Keras takes nine, and three times as long on a CPU. They do what the one cannot:
    statistics over all replicas, and weights in other than float32.
    """

    def call(self, inputs, training=None, mask=None):
        own = self.trainable and not self.synchronized and self.dtype == "float32"
        if not (training and own):
            return super().call(inputs, training=training, mask=mask)
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=tf.convert_to_tensor(self.gamma),
            offset=tf.convert_to_tensor(self.beta),
            mean=[],
            variance=[],
            epsilon=self.epsilon,
            is_training=True,
        )
        # It returns the unbiased variance; Keras averages the biased one.
        one_of = inputs.shape[-1] / tf.cast(tf.size(inputs), variance.dtype)
        self._average(self.moving_mean, mean)
        self._average(self.moving_variance, variance * (1.0 - one_of))
        return outputs

    def _average(self, moving, value):
        moving.assign(moving * self.momentum + value * (1.0 - self.momentum))


@keras.saving.register_keras_serializable(package="keras_selfkd")
class PointwiseConv2D(keras.layers.Conv2D):
    """A 1x1 convolution without bias, trained as a matrix product.

    On CPUs the gradient of its kernel takes half as long.
    """

    def __init__(self, filters, kernel_size=1, use_bias=False, **kwargs):
        super().__init__(filters, kernel_size, use_bias=use_bias, **kwargs)

    def call(self, inputs, training=None):
        if not training:
            return super().call(inputs)
        return ops.matmul(inputs, ops.reshape(self.kernel, self.kernel.shape[2:]))
