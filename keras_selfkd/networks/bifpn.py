"""The bidirectional feature pyramid that refines a student's taps."""

import itertools

import keras
from keras import layers, ops

from keras_selfkd.networks.faster_layers import (
    FusedBatchNormalization,
    PointwiseConv2D,
    weighed,
)


@keras.saving.register_keras_serializable(package="keras_selfkd")
class FusionShares(layers.Layer):
    """Shares of maps in their sum, for fast normalized fusion.

    `w = relu(v) / (sum(relu(v)) + 1e-6)` with trained `v` starting at 1. Returns a
    list of scalars, as many as maps are given; of these only the number counts.

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
        return ops.unstack(positive / (ops.sum(positive) + 1e-6), len(inputs))


def bifpn(
    features,
    channels,
    depth=2,
    repeats=1,
    resample_conv=True,
    bottom_up=True,
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

    Returns:
        List of refined maps after ReLU, fine to coarse.

    References:
        Ji et al., "Refine Myself by Teaching Myself", CVPR 2021,
        https://arxiv.org/abs/2103.08273
    """
    maps = list(features)
    check_falling(maps)
    for repeat in range(repeats):
        name_of = f"bifpn{repeat + 1}_{{}}".format
        convs = {"depth": depth, "resample_conv": resample_conv}
        down = top_down(maps, channels, name_of, lateral_conv=not repeat, **convs)
        if repeat == repeats - 1 and not bottom_up:
            return down
        maps = up_again(maps, down, channels, name_of, **convs)
    return maps


def check_falling(maps):
    """Refuses maps that do not get coarser from one to the next."""
    sizes = [x.shape[1:3] for x in maps]
    areas = [height * width for height, width in sizes]
    if any(after >= before for before, after in itertools.pairwise(areas)):
        raise ValueError(
            "A pyramid needs taps that are named fine to coarse, each smaller than the "
            f"one before. Received: taps of {', '.join(map(str, sizes))}"
        )


def top_down(maps, channels, name_of, depth, resample_conv, lateral_conv):
    """From coarsest to finest; the coarsest map is passed on as it is."""
    lateral = [
        name_of(f"lateral{i}") if lateral_conv else None for i in range(len(maps))
    ]
    refined = [fusion_input(maps[-1], channels[-1], lateral[-1])]
    for i in reversed(range(len(maps) - 1)):
        fusion = FusionShares(name=name_of(f"down_fusion{i}"))
        own, other = fusion([maps[i], refined[0]])
        fused = fusion_input(maps[i], channels[i], lateral[i], own)
        size = fused.shape[1:3]
        if resample_conv:
            # Before the upsampling, not after as in the paper: pointwise convolution,
            # BatchNorm and ReLU commute with repeating each position, shares with all.
            name = name_of(f"up{i}")
            above = conv_bn_relu(refined[0], channels[i], name, other)
            fused += upsample(above, size)
        else:
            # In a student a map that is weighed before would be its resolution's last.
            fused += weighed(upsample(refined[0], size), other)
        fused = separable_convs(fused, depth, name_of(f"down{i}"))
        refined.insert(0, layers.ReLU(name=name_of(f"top_down{i}"))(fused))
    return refined


def up_again(maps, down, channels, name_of, depth, resample_conv):
    """From finest to coarsest, with a lateral of its own on each level."""
    refined = [down[0]]
    for i in range(1, len(down)):
        below = downsample(refined[-1], down[i].shape[1:3])
        middle = [down[i]] if i < len(down) - 1 else []
        fusion = FusionShares(name=name_of(f"up_fusion{i}"))
        own, *between, other = fusion([maps[i], *middle, below])
        second = name_of(f"second_lateral{i}")
        fused = fusion_input(maps[i], channels[i], second, own)
        for x, share in zip(middle, between, strict=True):
            fused += weighed(x, share)
        conv = name_of(f"pool{i}") if resample_conv else None
        fused += fusion_input(below, channels[i], conv, other)
        fused = separable_convs(fused, depth, name_of(f"up_again{i}"))
        refined.append(layers.ReLU(name=name_of(f"out{i}"))(fused))
    return refined


def fusion_input(x, channels, conv_name, share=None):
    """A map as one of a sum: after a convolution, if named, and times its share."""
    if conv_name is not None:
        return conv_bn_relu(x, channels, conv_name, share)
    return x if share is None else weighed(x, share)


def upsample(x, size):
    if x.shape[1:3] == size:
        return x
    height, width, channels = x.shape[1:]
    if (2 * height, 2 * width) == tuple(size):
        # Each row twice, then each position: `ops.repeat` in fewer operations.
        x = ops.reshape(ops.concatenate([x, x], 2), (-1, 2 * height, width, channels))
        return ops.reshape(ops.concatenate([x, x], 3), (-1, *size, channels))
    # Not nearest, of which XLA has no gradient.
    return ops.image.resize(x, size, interpolation="bilinear")


def downsample(x, size):
    if (x.shape[1], x.shape[2]) == (2 * size[0], 2 * size[1]):
        return layers.MaxPooling2D(3, strides=2, padding="same")(x)
    return ops.image.resize(x, size, interpolation="bilinear")


def separable_convs(x, depth, name):
    """Depthwise 3x3, pointwise, BatchNorm, `depth` times, ReLU in between."""
    channels = x.shape[-1]
    for i in range(1, depth + 1):
        if i > 1:
            x = layers.ReLU(name=f"{name}_relu{i}")(x)
        x = layers.DepthwiseConv2D(
            3, padding="same", use_bias=False, name=f"{name}_depthwise{i}"
        )(x)
        x = PointwiseConv2D(channels, name=f"{name}_pointwise{i}")(x)
        x = batch_norm(f"{name}_bn{i}")(x)
    return x


def conv_bn_relu(x, channels, name, share=None):
    """1x1 convolution, BatchNorm, ReLU; times a `share` that is not negative."""
    x = PointwiseConv2D(channels, name=name)(x)
    # ReLU commutes with the share, and BatchNorm's scale and offset take it in.
    x = batch_norm(f"{name}_bn")(x, share=share)
    return layers.ReLU(name=f"{name}_relu")(x)


def batch_norm(name):
    return FusedBatchNormalization(epsilon=1e-5, momentum=0.9, name=name)
