"""The stage types that kdzoo has, one a file."""

from kdzoo.experiments.stages.compress import Compress
from kdzoo.experiments.stages.distill import Distill
from kdzoo.experiments.stages.hint_training import HintTraining
from kdzoo.experiments.stages.pretrained import Pretrained
from kdzoo.experiments.stages.train import Train

__all__ = ["Compress", "Distill", "HintTraining", "Pretrained", "Train"]
