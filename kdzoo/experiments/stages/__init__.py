"""The stage types that kdzoo has, one a file."""

from kdzoo.experiments.stages.born_again_stage import BornAgain
from kdzoo.experiments.stages.calibrate_biases_stage import CalibrateBiases
from kdzoo.experiments.stages.compress_stage import Compress
from kdzoo.experiments.stages.deep_compress_stage import DeepCompress
from kdzoo.experiments.stages.distill_binary_stage import DistillBinary
from kdzoo.experiments.stages.distill_from_logits_stage import DistillFromLogits
from kdzoo.experiments.stages.distill_stage import Distill
from kdzoo.experiments.stages.ensemble_of_stage import EnsembleOf
from kdzoo.experiments.stages.factorize_stage import Factorize
from kdzoo.experiments.stages.fit_thresholds_stage import FitThresholds
from kdzoo.experiments.stages.hint_training_stage import HintTraining
from kdzoo.experiments.stages.lottery_ticket_stage import LotteryTicket
from kdzoo.experiments.stages.mutual_learning_stage import MutualLearning
from kdzoo.experiments.stages.pretrained_stage import Pretrained
from kdzoo.experiments.stages.prune_filters_stage import PruneFilters
from kdzoo.experiments.stages.specialists_stage import Specialists
from kdzoo.experiments.stages.teacher_assistant_stage import TeacherAssistant
from kdzoo.experiments.stages.teacher_file_stage import TeacherFile
from kdzoo.experiments.stages.train_binary_stage import TrainBinary
from kdzoo.experiments.stages.train_exits_stage import TrainExits
from kdzoo.experiments.stages.train_pruned_stage import TrainPruned
from kdzoo.experiments.stages.train_stage import Train
from kdzoo.experiments.stages.train_widths_stage import TrainWidths

__all__ = [
    "BornAgain",
    "CalibrateBiases",
    "Compress",
    "DeepCompress",
    "Distill",
    "DistillBinary",
    "DistillFromLogits",
    "EnsembleOf",
    "Factorize",
    "FitThresholds",
    "HintTraining",
    "LotteryTicket",
    "MutualLearning",
    "Pretrained",
    "PruneFilters",
    "Specialists",
    "TeacherAssistant",
    "TeacherFile",
    "Train",
    "TrainBinary",
    "TrainExits",
    "TrainPruned",
    "TrainWidths",
]
