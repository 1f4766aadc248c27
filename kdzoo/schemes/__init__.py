"""Procedures of one or several stages, each built on `fit`."""

from kdzoo.models.specialist_ensemble import SpecialistEnsemble, specialist_distribution
from kdzoo.schemes.calibrate_biases import BiasReport, calibrate_biases
from kdzoo.schemes.confusable_classes import confusable_classes
from kdzoo.schemes.hint_training import hint_training
from kdzoo.schemes.specialists import specialist_of, specialists
from kdzoo.training.stages import train

__all__ = [
    "BiasReport",
    "SpecialistEnsemble",
    "calibrate_biases",
    "confusable_classes",
    "hint_training",
    "specialist_distribution",
    "specialist_of",
    "specialists",
    "train",
]
