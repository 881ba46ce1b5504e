"""The self-distillation methods, one file each."""

from keras_selfkd.methods.frskd import FRSKD
from keras_selfkd.methods.frskd_sla import FRSKD_SLA
from keras_selfkd.methods.mixskd import MixSKD
from keras_selfkd.methods.nfd import NFD
from keras_selfkd.methods.taught import Taught

__all__ = ["FRSKD", "FRSKD_SLA", "NFD", "MixSKD", "Taught"]
