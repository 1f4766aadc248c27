"""The state of a training on disk, epoch by epoch: `EpochCheckpoint`."""

from kdzoo.training.checkpoints.callback import EpochCheckpoint

__all__ = ["EpochCheckpoint"]
