"""Distillation losses, each a pure function and a thin class, grouped by what they compare."""

from kdzoo.losses.base import DistillationLoss
from kdzoo.losses.born_again import (
    ConfidenceWeightedLabels,
    PermutedSoftTargets,
    confidence_weighted_labels,
    permuted_soft_targets,
)
from kdzoo.losses.contrastive import ContrastiveRepresentation, noise_contrastive
from kdzoo.losses.correlation import PredictionCorrelation, prediction_correlation
from kdzoo.losses.decoupled import DecoupledSoftTargets, decoupled_soft_targets
from kdzoo.losses.feature import AttentionTransfer, Hint, attention_transfer, hint
from kdzoo.losses.keras_distillation import KerasDistillation
from kdzoo.losses.logit_regression import LogitRegression, logit_regression, logit_statistics
from kdzoo.losses.probabilistic import ProbabilisticTransfer, probabilistic_transfer
from kdzoo.losses.regression import OutputRegression, output_regression
from kdzoo.losses.relation import (
    RelationalAngle,
    RelationalDistance,
    SimilarityPreserving,
    relational_angle,
    relational_distance,
    similarity_preserving,
)
from kdzoo.losses.response import SoftTargets, soft_targets
from kdzoo.losses.variational import VariationalInformation, variational_information

__all__ = [
    "AttentionTransfer",
    "ConfidenceWeightedLabels",
    "ContrastiveRepresentation",
    "DecoupledSoftTargets",
    "DistillationLoss",
    "Hint",
    "KerasDistillation",
    "LogitRegression",
    "OutputRegression",
    "PermutedSoftTargets",
    "PredictionCorrelation",
    "ProbabilisticTransfer",
    "RelationalAngle",
    "RelationalDistance",
    "SimilarityPreserving",
    "SoftTargets",
    "VariationalInformation",
    "attention_transfer",
    "confidence_weighted_labels",
    "decoupled_soft_targets",
    "hint",
    "logit_regression",
    "logit_statistics",
    "noise_contrastive",
    "output_regression",
    "permuted_soft_targets",
    "prediction_correlation",
    "probabilistic_transfer",
    "relational_angle",
    "relational_distance",
    "similarity_preserving",
    "soft_targets",
    "variational_information",
]
