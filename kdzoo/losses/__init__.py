"""What is distilled: for each loss a pure function and a thin class, by kind of knowledge."""

from kdzoo.losses.base import DistillationLoss
from kdzoo.losses.keras_distillation import KerasDistillation
from kdzoo.losses.response import (
    DecoupledSoftTargets,
    LogitRegression,
    SoftTargets,
    decoupled_soft_targets,
    logit_regression,
    logit_statistics,
    soft_targets,
)

__all__ = [
    "DecoupledSoftTargets",
    "DistillationLoss",
    "KerasDistillation",
    "LogitRegression",
    "SoftTargets",
    "decoupled_soft_targets",
    "logit_regression",
    "logit_statistics",
    "soft_targets",
]
