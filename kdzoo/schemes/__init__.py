"""Procedures of one or several stages, each built on `fit`."""

from kdzoo.schemes.calibrate_biases import BiasReport, calibrate_biases
from kdzoo.schemes.hint_training import hint_training
from kdzoo.training.stages import train

__all__ = ["BiasReport", "calibrate_biases", "hint_training", "train"]
