"""Loss functions `loss(target, prediction)`: one value per example, no reduction.

The target is the teacher's side; its gradient is stopped inside.
"""

from keras_selfkd.losses.features import (
    attention_transfer,
    feature_loss,
    fitnet_hint,
    normalized_mse,
)
from keras_selfkd.losses.logits import soft_label

__all__ = [
    "attention_transfer",
    "feature_loss",
    "fitnet_hint",
    "normalized_mse",
    "soft_label",
]
