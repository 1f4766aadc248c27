"""Procedures of one or several stages, each built on `fit`."""

from kdzoo.models.specialist_distribution import specialist_distribution
from kdzoo.models.specialist_ensemble import SpecialistEnsemble
from kdzoo.schemes.born_again import born_again
from kdzoo.schemes.calibrate_biases import BiasReport, calibrate_biases
from kdzoo.schemes.deep_compression import deep_compression
from kdzoo.schemes.deep_compression_presets import DEEP_COMPRESSION_PRESETS
from kdzoo.schemes.ensemble import ensemble
from kdzoo.schemes.filter_pruning import filter_pruning
from kdzoo.schemes.hint_training import hint_training
from kdzoo.schemes.lottery_ticket import LotteryTickets, lottery_ticket
from kdzoo.schemes.mutual_learning import mutual_learning
from kdzoo.schemes.specialists import specialist_of, specialists
from kdzoo.schemes.teacher_assistant import assistant_sizes, teacher_assistant
from kdzoo.training.stages import train

__all__ = [
    "DEEP_COMPRESSION_PRESETS",
    "BiasReport",
    "LotteryTickets",
    "SpecialistEnsemble",
    "assistant_sizes",
    "born_again",
    "calibrate_biases",
    "deep_compression",
    "ensemble",
    "filter_pruning",
    "hint_training",
    "lottery_ticket",
    "mutual_learning",
    "specialist_distribution",
    "specialist_of",
    "specialists",
    "teacher_assistant",
    "train",
]
