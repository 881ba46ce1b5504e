"""The self-distillation methods, one file each."""

from keras_selfkd.methods.frskd import FRSKD
from keras_selfkd.methods.nfd import NFD

__all__ = ["FRSKD", "NFD"]
