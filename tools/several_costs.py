"""Networks of several exits or widths among what is published, each of them measured for itself."""

import dataclasses
from typing import Any

import keras
import numpy as np

from kdzoo import dynamic, evaluation
from kdzoo.dynamic.width_channels import digits
from kdzoo.evaluation.latency import Latency

_BATCH = 500
_TIMES = ("median_ms", "q1_ms", "q3_ms")


def largest(model: Any) -> keras.Model:
    """Returns a plain model of the last exit or the largest width; of one cost the model itself."""
    if isinstance(model, dynamic.Slimmable):
        return dynamic.extract(model, model.widths[-1])
    return dynamic.exit_model(model, -1) if len(model.outputs) > 1 else model


def accuracies(model: Any, images: np.ndarray, labels: np.ndarray) -> list[float]:
    """Returns the accuracy of each exit or width, in [0, 1], the largest one last.

    Args:
        model: A model of one or several costs.
        images: Float32 images.
        labels: Their integer labels.
    """
    if isinstance(model, dynamic.Slimmable):
        narrow = (dynamic.extract(model, width) for width in model.widths)
        return [evaluation.accuracy(one, images, labels) for one in narrow]
    if len(model.outputs) == 1:
        return [evaluation.accuracy(model, images, labels)]
    return exportable(model).evaluate(images, labels, batch_size=_BATCH).exit_accuracies


def costs(model: Any, found: list[float]) -> dict[str, Any]:
    """Returns what a row says of several exits or widths; nothing for a model of one cost.

    Args:
        model: The model.
        found: The accuracy of each exit or width.
    """
    if len(found) == 1:
        return {}
    if isinstance(model, dynamic.Slimmable):
        narrow = [dynamic.extract(model, width) for width in model.widths]
        rows = zip(model.widths, found, narrow, strict=True)
        return {
            "widths": [
                {
                    "width": width,
                    "accuracy": accuracy,
                    "macs": evaluation.count_macs(one),
                    "parameters": evaluation.count_parameters(one),
                }
                for width, accuracy, one in rows
            ]
        }
    macs = dynamic.exit_macs(model)
    pairs = zip(found, macs, strict=True)
    return {"exits": [{"accuracy": accuracy, "macs": cost} for accuracy, cost in pairs]}


def macs(model: Any) -> int:
    """Returns the multiply-accumulates of all exits, or of the largest width."""
    is_slimmable = isinstance(model, dynamic.Slimmable)
    return evaluation.count_macs(largest(model) if is_slimmable else model)


def exportable(model: Any) -> Any:
    """Returns what `to_litert` makes a file of, with a signature for each exit or width.

    The thresholds of exits stop nothing before the last one.
    """
    if len(model.outputs) == 1:
        return model
    classifier = dynamic.BudgetedClassifier(model)
    classifier.thresholds = [np.inf] * (len(model.outputs) - 1)
    return classifier


def latencies(model: Any, file: Any) -> dict[str, Latency]:
    """Returns how long a file of a model takes: up to each exit, at each width, or as a whole.

    Args:
        model: The model.
        file: Path of its `.tflite` file.

    Returns:
        What the time is of -> a `Latency`: `""` of one cost, `", width 0.5"`, or
        `", up to exit 2"`, whose median and quartiles are sums of those of the signatures, which
        run one after another.
    """
    if isinstance(model, dynamic.Slimmable):
        return {
            f", width {width:g}": evaluation.latency(file, signature=f"width_{digits(width)}")
            for width in model.widths
        }
    exits = len(model.outputs)
    if exits == 1:
        return {"": evaluation.latency(file)}
    timed = [evaluation.latency(file, signature=f"exit{n}") for n in range(1, exits + 1)]
    return {f", up to exit {n}": _sum(timed[:n]) for n in range(1, exits + 1)}


def _sum(parts: list[Latency]) -> Latency:
    sums: dict[str, Any] = {name: sum(getattr(one, name) for one in parts) for name in _TIMES}
    return dataclasses.replace(parts[0], **sums)
