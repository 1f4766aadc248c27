"""The losses that logs and the progress bar show: their names, and how they are counted."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from kdzoo.graph.replicas import count_replicas
from kdzoo.losses.base import DistillationLoss
from kdzoo.utils.types import Tensor


def tracker_names(losses: Sequence[DistillationLoss]) -> list[str]:
    """Returns `<name>_loss` for each loss, numbered where names repeat.

    Args:
        losses: The distillation losses.
    """
    names: list[str] = []
    for loss in losses:
        name, number = f"{loss.name}_loss", 2
        while name in names:
            name, number = f"{loss.name}_{number}_loss", number + 1
        names.append(name)
    return names


def make_trackers(losses: Sequence[DistillationLoss]) -> dict[str, keras.metrics.Mean]:
    """Returns name -> `keras.metrics.Mean` for what the logs show of the losses.

    Args:
        losses: The distillation losses.
    """
    names = ["student_loss", "distillation_loss"]
    names += tracker_names(losses) if len(losses) > 1 else []
    return means(names)


def means(names: Sequence[str]) -> dict[str, keras.metrics.Mean]:
    """Returns name -> `keras.metrics.Mean` of that name."""
    return {name: keras.metrics.Mean(name=name) for name in names}


def track(
    trackers: Mapping[str, keras.metrics.Mean], name: str, value: Tensor, outputs: Any
) -> None:
    """Counts a loss of a batch in, if the logs show it.

    Args:
        trackers: What `make_trackers` or `means` returned.
        name: The name of the loss.
        value: The loss, a scalar.
        outputs: Outputs of the batch, in any structure, which say how many samples there are.
    """
    if name in trackers:
        samples = ops.shape(keras.tree.flatten(outputs)[0])[0]
        trackers[name].update_state(value * count_replicas(), sample_weight=samples)
