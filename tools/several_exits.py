"""Networks of several exits among what is published, each exit measured for itself."""

import dataclasses
from typing import Any

import keras
import numpy as np

from kdzoo import dynamic, evaluation
from kdzoo.evaluation.latency import Latency

_BATCH = 500
_TIMES = ("median_ms", "q1_ms", "q3_ms")


def last_exit(model: keras.Model) -> keras.Model:
    """Returns a model that ends at the last exit; of one output the model itself."""
    return dynamic.exit_model(model, -1) if len(model.outputs) > 1 else model


def accuracies(model: keras.Model, images: np.ndarray, labels: np.ndarray) -> list[float]:
    """Returns the accuracy of each exit, in [0, 1].

    Args:
        model: A model of one or several exits.
        images: Float32 images.
        labels: Their integer labels.
    """
    if len(model.outputs) == 1:
        return [evaluation.accuracy(model, images, labels)]
    return exportable(model).evaluate(images, labels, batch_size=_BATCH).exit_accuracies


def costs(model: keras.Model, found: list[float]) -> dict[str, Any]:
    """Returns what a row says of several exits; nothing for a model of one.

    Args:
        model: The model.
        found: The accuracy of each exit.
    """
    if len(found) == 1:
        return {}
    macs = dynamic.exit_macs(model)
    rows = zip(found, macs, strict=True)
    return {"exits": [{"accuracy": accuracy, "macs": cost} for accuracy, cost in rows]}


def exportable(model: keras.Model) -> Any:
    """Returns what `to_litert` makes a file of, with a signature for each exit if it has several.

    Its thresholds stop nothing before the last exit.
    """
    if len(model.outputs) == 1:
        return model
    classifier = dynamic.BudgetedClassifier(model)
    classifier.thresholds = [np.inf] * (len(model.outputs) - 1)
    return classifier


def latencies(file: Any, exits: int) -> dict[str, Latency]:
    """Returns how long a file takes, and one of several exits up to each.

    Args:
        file: Path of the `.tflite` file.
        exits: How many exits it has.

    Returns:
        What the time is of -> a `Latency`: `""` of one exit, `", up to exit 2"` of several, whose
        medians and quartiles are sums of those of the signatures, which run one after another.
    """
    if exits == 1:
        return {"": evaluation.latency(file)}
    timed = [evaluation.latency(file, signature=f"exit{n}") for n in range(1, exits + 1)]
    return {f", up to exit {n}": _sum(timed[:n]) for n in range(1, exits + 1)}


def _sum(parts: list[Latency]) -> Latency:
    sums = {name: sum(getattr(part, name) for part in parts) for name in _TIMES}
    return dataclasses.replace(parts[0], **sums)
