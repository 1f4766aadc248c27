"""The state of a training on disk: `EpochCheckpoint`, and `RunCheckpoint` of a whole run."""

from kdzoo.training.checkpoints.callback import EpochCheckpoint
from kdzoo.training.checkpoints.initial import begin_as_before
from kdzoo.training.checkpoints.run import RunCheckpoint, is_unfinished

__all__ = ["EpochCheckpoint", "RunCheckpoint", "begin_as_before", "is_unfinished"]
