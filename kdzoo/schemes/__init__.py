"""Procedures of one or several stages, each built on `fit`."""

from kdzoo.schemes.born_again import born_again
from kdzoo.schemes.hint_training import hint_training
from kdzoo.schemes.mutual_learning import mutual_learning
from kdzoo.schemes.teacher_assistant import assistant_sizes, teacher_assistant
from kdzoo.training.stages import train

__all__ = [
    "assistant_sizes",
    "born_again",
    "hint_training",
    "mutual_learning",
    "teacher_assistant",
    "train",
]
