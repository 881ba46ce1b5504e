"""The self-distillation methods, one file each."""

from keras_selfkd.methods.frskd import FRSKD

__all__ = ["FRSKD"]
