"""Functional graphs that methods grow on a student's taps, built by functions."""

from keras_selfkd.networks.bifpn import FastNormalizedFusion, bifpn
from keras_selfkd.networks.heads import is_dense, prediction_head

__all__ = ["FastNormalizedFusion", "bifpn", "is_dense", "prediction_head"]
