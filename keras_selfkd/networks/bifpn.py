"""The bidirectional feature pyramid that refines a student's taps."""

import keras
from keras import layers, ops

from keras_selfkd.networks.faster_layers import (
    FusedBatchNormalization,
    PointwiseConv2D,
)


@keras.saving.register_keras_serializable(package="keras_selfkd")
class FastNormalizedFusion(layers.Layer):
    """Weighted sum of maps, with trained weights that sum to one.

    `sum_k w_k x_k` with `w = relu(v) / (sum(relu(v)) + 1e-6)` and `v` starting at 1.
    Maps smaller than the first are enlarged to its size, nearest where that doubles
    them, else bilinear (XLA has no gradient of nearest).

    References:
        Tan et al., "EfficientDet", CVPR 2020, https://arxiv.org/abs/1911.09070
    """

    def build(self, input_shape):
        # A few scalars; float32 also under mixed precision.
        self.fusion_weights = self.add_weight(
            shape=(len(input_shape),),
            initializer="ones",
            name="fusion_weights",
            autocast=False,
        )

    def call(self, inputs):
        positive = ops.relu(ops.convert_to_tensor(self.fusion_weights))
        shares = positive / (ops.sum(positive) + 1e-6)
        shares = ops.unstack(ops.cast(shares, inputs[0].dtype), len(inputs))
        total = shares[0] * inputs[0]
        for share, x in zip(shares[1:], inputs[1:], strict=True):
            # Weighed while it is small: that commutes with enlarging.
            total += upsample(share * x, inputs[0].shape[1:3])
        return total

    def compute_output_shape(self, input_shape):
        return input_shape[0]


def bifpn(
    features,
    channels,
    depth=2,
    repeats=1,
    resample_conv=True,
    bottom_up=True,
    sync=False,
):
    """Refines a pyramid of maps top-down, then bottom-up.

    BiFPNc, with as many channels a level as the student's taps times the width,
    has `resample_conv=True`; the BiFPN of fixed width has not.

    Args:
        features: List of at least two symbolic maps `(batch, height, width,
            channels)`, fine to coarse. Sizes that are exactly doubled use nearest
            upsampling and 3x3/2 max-pooling, any others bilinear resizing.
        channels: List of integers, channels of each refined level.
        depth: Integer, separable convolutions after each fusion. Defaults to 2.
        repeats: Integer, number of stacked pyramids. Defaults to 1.
        resample_conv: Boolean, whether a resized map passes a 1x1 convolution;
            needed where neighbouring levels differ in channels.
        bottom_up: Boolean, whether the last pyramid goes back to the coarsest level.
            False for dense prediction, whose head reads the finest.
        sync: Boolean, whether replicas share their BatchNorm statistics.

    Returns:
        List of refined maps after ReLU, fine to coarse.

    References:
        Ji et al., "Refine Myself by Teaching Myself", CVPR 2021,
        https://arxiv.org/abs/2103.08273
    """
    maps = list(features)
    for repeat in range(repeats):
        name = f"bifpn{repeat + 1}"
        lateral = [
            maps[i] if repeat else conv_bn_relu(maps[i], c, f"{name}_lateral{i}", sync)
            for i, c in enumerate(channels)
        ]
        convs = {"channels": channels, "resample_conv": resample_conv, "sync": sync}
        down = top_down(lateral, depth, name, **convs)
        if repeat == repeats - 1 and not bottom_up:
            return down
        second = [
            conv_bn_relu(maps[i], channels[i], f"{name}_second_lateral{i}", sync)
            for i in range(1, len(maps))
        ]
        maps = up_again(down, second, depth, name, **convs)
    return maps


def top_down(lateral, depth, name, channels, resample_conv, sync):
    """From coarsest to finest; the coarsest map is passed on as it is."""
    refined = [lateral[-1]]
    for i in reversed(range(len(lateral) - 1)):
        above = refined[0]
        if resample_conv:
            # Before the upsampling, not after as in the paper: pointwise convolution,
            # BatchNorm and ReLU commute with repeating each position.
            above = conv_bn_relu(above, channels[i], f"{name}_up{i}", sync)
        fusion = FastNormalizedFusion(name=f"{name}_down_fusion{i}")
        fused = fusion([lateral[i], above])
        fused = separable_convs(fused, depth, f"{name}_down{i}", sync)
        refined.insert(0, layers.ReLU(name=f"{name}_top_down{i}")(fused))
    return refined


def up_again(down, second, depth, name, channels, resample_conv, sync):
    """From finest to coarsest, with a lateral of its own on each level."""
    refined = [down[0]]
    for i in range(1, len(down)):
        below = downsample(refined[-1], down[i].shape[1:3])
        if resample_conv:
            below = conv_bn_relu(below, channels[i], f"{name}_pool{i}", sync)
        middle = [down[i]] if i < len(down) - 1 else []
        fusion = FastNormalizedFusion(name=f"{name}_up_fusion{i}")
        fused = fusion([second[i - 1], *middle, below])
        fused = separable_convs(fused, depth, f"{name}_up_again{i}", sync)
        refined.append(layers.ReLU(name=f"{name}_out{i}")(fused))
    return refined


def upsample(x, size):
    if x.shape[1:3] == size:
        return x
    height, width, channels = x.shape[1:]
    if (2 * height, 2 * width) == tuple(size):
        # Each row twice, then each position: `ops.repeat` in fewer operations.
        x = ops.reshape(ops.concatenate([x, x], 2), (-1, 2 * height, width, channels))
        return ops.reshape(ops.concatenate([x, x], 3), (-1, *size, channels))
    return ops.image.resize(x, size, interpolation="bilinear")


def downsample(x, size):
    if (x.shape[1], x.shape[2]) == (2 * size[0], 2 * size[1]):
        return layers.MaxPooling2D(3, strides=2, padding="same")(x)
    return ops.image.resize(x, size, interpolation="bilinear")


def separable_convs(x, depth, name, sync):
    """Depthwise 3x3, pointwise, BatchNorm, `depth` times, ReLU in between."""
    channels = x.shape[-1]
    for i in range(1, depth + 1):
        if i > 1:
            x = layers.ReLU(name=f"{name}_relu{i}")(x)
        x = layers.DepthwiseConv2D(
            3, padding="same", use_bias=False, name=f"{name}_depthwise{i}"
        )(x)
        x = PointwiseConv2D(channels, name=f"{name}_pointwise{i}")(x)
        x = batch_norm(f"{name}_bn{i}", sync)(x)
    return x


def conv_bn_relu(x, channels, name, sync):
    """1x1 convolution, BatchNorm, ReLU."""
    x = PointwiseConv2D(channels, name=name)(x)
    return layers.ReLU(name=f"{name}_relu")(batch_norm(f"{name}_bn", sync)(x))


def batch_norm(name, sync):
    return FusedBatchNormalization(
        epsilon=1e-5, momentum=0.9, synchronized=sync, name=name
    )
