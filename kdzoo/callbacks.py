"""Callbacks for `fit`; they live in `kdzoo.training`."""

from kdzoo.training.callbacks import Anneal, EpochCheckpoint, StopAtNonFiniteLoss, linear

__all__ = ["Anneal", "EpochCheckpoint", "StopAtNonFiniteLoss", "linear"]
