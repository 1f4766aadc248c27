"""Procedures of one or several stages, each built on `fit`."""

from kdzoo.schemes.hint_training import hint_training
from kdzoo.training.stages import train

__all__ = ["hint_training", "train"]
