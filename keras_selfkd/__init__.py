"""Self-distillation for Keras 3: a vision network that teaches itself."""

import keras_selfkd.backend  # noqa: F401 (first: it refuses other backends)
from keras_selfkd import losses
from keras_selfkd.batch_norm import recalibrate_batch_norm
from keras_selfkd.checkpoints import Checkpoints
from keras_selfkd.companions import overlapping, pairs_by_class, with_index
from keras_selfkd.data import check_data, epochs, with_class_weights
from keras_selfkd.distributed.layers import synchronize_batch_norm
from keras_selfkd.export.student import export_onnx, export_saved_model, export_student
from keras_selfkd.late import Late
from keras_selfkd.losses.label_smoothing import SmoothedCrossEntropy
from keras_selfkd.memory import ExampleMemory
from keras_selfkd.method import Method, Supervised
from keras_selfkd.methods import (
    BAKE,
    BYOT,
    CSKD,
    DDGSD,
    DKS,
    DLB,
    FRSKD,
    FRSKD_SLA,
    NFD,
    OLS,
    PSKD,
    SAD,
    TFD,
    USKD,
    MeanTeacher,
    MixSKD,
    Taught,
    ZipfLS,
)
from keras_selfkd.metrics import ExpectedCalibrationError, PixelAccuracy
from keras_selfkd.mixing import CutMix, Mixup
from keras_selfkd.model import SelfDistillationModel
from keras_selfkd.optimizers import SGDWithL2
from keras_selfkd.progress import Ramp
from keras_selfkd.schedules import SigmoidRampUp, WarmUp
from keras_selfkd.taps import Outputs

__version__ = "0.1.0"

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
    "Checkpoints",
    "CutMix",
    "ExampleMemory",
    "ExpectedCalibrationError",
    "Late",
    "MeanTeacher",
    "Method",
    "MixSKD",
    "Mixup",
    "Outputs",
    "PixelAccuracy",
    "Ramp",
    "SGDWithL2",
    "SelfDistillationModel",
    "SigmoidRampUp",
    "SmoothedCrossEntropy",
    "Supervised",
    "Taught",
    "WarmUp",
    "ZipfLS",
    "check_data",
    "epochs",
    "export_onnx",
    "export_saved_model",
    "export_student",
    "losses",
    "overlapping",
    "pairs_by_class",
    "recalibrate_batch_norm",
    "synchronize_batch_norm",
    "with_class_weights",
    "with_index",
]
