"""The self-distillation methods, one file each."""

from keras_selfkd.methods.bake import BAKE
from keras_selfkd.methods.byot import BYOT
from keras_selfkd.methods.cs_kd import CSKD
from keras_selfkd.methods.ddgsd import DDGSD
from keras_selfkd.methods.dks import DKS
from keras_selfkd.methods.dlb import DLB
from keras_selfkd.methods.frskd import FRSKD
from keras_selfkd.methods.frskd_sla import FRSKD_SLA
from keras_selfkd.methods.mean_teacher import MeanTeacher
from keras_selfkd.methods.mixskd import MixSKD
from keras_selfkd.methods.nfd import NFD
from keras_selfkd.methods.ols import OLS
from keras_selfkd.methods.pskd import PSKD
from keras_selfkd.methods.sad import SAD
from keras_selfkd.methods.taught import Taught
from keras_selfkd.methods.tfd import TFD
from keras_selfkd.methods.uskd import USKD
from keras_selfkd.methods.zipf_ls import ZipfLS

__all__ = [
    "BAKE",
    "BYOT",
    "CSKD",
    "DDGSD",
    "DKS",
    "DLB",
    "FRSKD",
    "FRSKD_SLA",
    "NFD",
    "OLS",
    "PSKD",
    "SAD",
    "TFD",
    "USKD",
    "MeanTeacher",
    "MixSKD",
    "Taught",
    "ZipfLS",
]
