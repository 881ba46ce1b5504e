"""Functional graphs that methods grow on a student's taps, built by functions."""

from keras_selfkd.networks.bifpn import FusionShares, bifpn, conv_bn_relu
from keras_selfkd.networks.branches import (
    bottleneck_branches,
    branches,
    depth,
    joint_head,
    last_tap,
)
from keras_selfkd.networks.discriminators import discriminator
from keras_selfkd.networks.heads import prediction_head
from keras_selfkd.networks.self_teacher import self_teacher

__all__ = [
    "FusionShares",
    "bifpn",
    "bottleneck_branches",
    "branches",
    "conv_bn_relu",
    "depth",
    "discriminator",
    "joint_head",
    "last_tap",
    "prediction_head",
    "self_teacher",
]
