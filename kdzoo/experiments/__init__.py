"""Experiments: a recipe is a graph of stages, and the engine makes what is missing of it."""

from kdzoo.experiments.compression_settings import Compression, retraining
from kdzoo.experiments.experiment import Experiment
from kdzoo.experiments.stage import Dependency, Stage, register
from kdzoo.experiments.stage_outcome import Outcome
from kdzoo.experiments.stages import (
    BornAgain,
    CalibrateBiases,
    Compress,
    DeepCompress,
    Distill,
    DistillBinary,
    EnsembleOf,
    Factorize,
    FitThresholds,
    HintTraining,
    LotteryTicket,
    MutualLearning,
    Pretrained,
    PruneFilters,
    Specialists,
    TeacherAssistant,
    Train,
    TrainBinary,
    TrainExits,
    TrainPruned,
    TrainWidths,
)
from kdzoo.experiments.stages.distill_stage import soft_targets
from kdzoo.experiments.training_settings import Training
from kdzoo.experiments.transfer_settings import Transfer

__all__ = [
    "BornAgain",
    "CalibrateBiases",
    "Compress",
    "Compression",
    "DeepCompress",
    "Dependency",
    "Distill",
    "DistillBinary",
    "EnsembleOf",
    "Experiment",
    "Factorize",
    "FitThresholds",
    "HintTraining",
    "LotteryTicket",
    "MutualLearning",
    "Outcome",
    "Pretrained",
    "PruneFilters",
    "Specialists",
    "Stage",
    "TeacherAssistant",
    "Train",
    "TrainBinary",
    "TrainExits",
    "TrainPruned",
    "TrainWidths",
    "Training",
    "Transfer",
    "register",
    "retraining",
    "soft_targets",
]
