"""The state of a training on disk: `EpochCheckpoint`, and `RunCheckpoint` of a whole run."""

from kdzoo.training.checkpoints.callback import EpochCheckpoint
from kdzoo.training.checkpoints.run import RunCheckpoint

__all__ = ["EpochCheckpoint", "RunCheckpoint"]
