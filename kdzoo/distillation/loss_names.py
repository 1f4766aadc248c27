"""The names under which logs and the progress bar show the losses of a `Distiller`."""

from collections.abc import Sequence

import keras

from kdzoo.losses.base import DistillationLoss


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
    return {name: keras.metrics.Mean(name=name) for name in names}
