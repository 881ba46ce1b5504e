"""Functional graphs that methods grow on a student's taps, built by functions."""

from keras_selfkd.networks.bifpn import FastNormalizedFusion, bifpn
from keras_selfkd.networks.heads import is_dense, prediction_head
from keras_selfkd.networks.self_teacher import self_teacher

__all__ = [
    "FastNormalizedFusion",
    "bifpn",
    "is_dense",
    "prediction_head",
    "self_teacher",
]
