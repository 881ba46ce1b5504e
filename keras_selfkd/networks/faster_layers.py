"""Keras layers that train faster, with the same weights and numbers.

Inference is Keras's own, and so is what an exported file holds.
"""

import keras
import tensorflow as tf
from keras import ops


@keras.saving.register_keras_serializable(package="keras_selfkd")
class FusedBatchNormalization(keras.layers.BatchNormalization):
    """BatchNormalization of `(batch, height, width, channels)` in one operation.

    Keras takes nine, and more than three times as long on a CPU. They do what the one
    cannot: statistics over all replicas, weights in other than float32, no momentum.

    Outputs are multiplied by the scalar `share`, unless it is `None`.
    """

    def call(self, inputs, training=None, mask=None, share=None):
        own = not self.synchronized and self.dtype == "float32" and self.momentum > 0
        if not (training and self.trainable and own):
            outputs = super().call(inputs, training=training, mask=mask)
            return outputs if share is None else weighed(outputs, share)
        gamma, beta = tf.convert_to_tensor(self.gamma), tf.convert_to_tensor(self.beta)
        if share is not None:
            gamma, beta = weighed(gamma, share), weighed(beta, share)
        # It averages unbiased variances; Keras biased ones, `ratio` times as large.
        channels, size = inputs.shape[-1], tf.cast(tf.size(inputs), "float32")
        ratio = tf.maximum(size - channels, channels) / size
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=gamma,
            offset=beta,
            mean=tf.convert_to_tensor(self.moving_mean),
            variance=self.moving_variance / ratio,
            epsilon=self.epsilon,
            exponential_avg_factor=1.0 - self.momentum,
            is_training=True,
        )
        self.moving_mean.assign(mean)
        self.moving_variance.assign(variance * ratio)
        return outputs


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


def weighed(x, share):
    return x * ops.cast(share, x.dtype)
