"""A network of exits that runs part by part: all of them, or up to where samples stop."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from kdzoo.evaluation.labelled_batches import (
    check_finite_outputs,
    check_inputs,
    labelled_batches,
)
from kdzoo.graph.confidence import Confidence, confidence_of
from kdzoo.graph.predictions import class_indices

Parts = Sequence[keras.Model]
"""A model for each exit; each takes what the one before it gave after its logits."""


class Measured(NamedTuple):
    """What all exits give for samples.

    Attributes:
        confidences: Array `(exits, samples)`.
        are_right: Booleans `(exits, samples)`: whether the exit predicts the label.
        labels: Integers `(samples,)`, the classes.
    """

    confidences: np.ndarray
    are_right: np.ndarray
    labels: np.ndarray


def outputs_in_turn(parts: Parts, batch: Any) -> Iterator[np.ndarray]:
    """Yields the logits of each exit, from the first to the last, as soon as it is computed.

    Args:
        parts: The parts of the network.
        batch: What the first one takes.
    """
    check_inputs(batch, parts[0])
    carried = batch
    for part in parts:
        logits, *carried = _outputs(part, carried)
        yield logits


def run_until_sure(
    parts: Parts, batch: Any, confidence: Confidence, thresholds: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the logits at which each sample of a batch stopped, and the exits, counted from 0.

    Args:
        parts: The parts of the network.
        batch: What the first one takes.
        confidence: How sure an exit is.
        thresholds: The least confidence with which each exit but the last stops.
    """
    check_inputs(batch, parts[0])
    count = len(keras.tree.flatten(batch)[0])
    rows, carried = np.arange(count), batch
    classes = parts[0].outputs[0].shape[-1]
    logits, exits = np.zeros((count, classes), "float32"), np.zeros(count, int)
    for place, (part, threshold) in enumerate(zip(parts, [*thresholds, -np.inf], strict=True)):
        own, *carried = _outputs(part, carried, len(rows))
        check_finite_outputs(own, part)
        stops = confidence_of(own, confidence) >= threshold
        logits[rows[stops]], exits[rows[stops]] = own[stops], place
        if stops.all():
            break
        rows, carried = rows[~stops], [array[~stops] for array in carried]
    return logits, exits


def measure(parts: Parts, x: Any, y: Any, confidence: Confidence, batch_size: int) -> Measured:
    """Returns how sure all exits are of samples, and whether they are right.

    Args:
        parts: The parts of the network.
        x: Array `(samples, ...)`, or a dataset of batches `(x, y)`.
        y: Labels: integers, or one-hot. None when `x` is a dataset.
        confidence: How sure an exit is.
        batch_size: Samples in one step when `x` is an array.

    Raises:
        ValueError: If there is no sample or label, or one is NaN.
    """
    confidences, are_right, classes = [], [], []
    for batch, labels in labelled_batches(x, y, batch_size):
        if labels is None:
            raise ValueError("Expected data with labels, (x, y). Received: samples without labels.")
        outputs = list(outputs_in_turn(parts, batch))
        for own in outputs:
            check_finite_outputs(own, parts[-1])
        wanted = class_indices(labels, outputs[0].shape)
        confidences.append([confidence_of(own, confidence) for own in outputs])
        are_right.append([own.argmax(-1) == wanted for own in outputs])
        classes.append(wanted)
    joined = [np.concatenate(found, -1) for found in (confidences, are_right, classes)]
    return Measured(*joined)


def _outputs(part: keras.Model, inputs: Any, count: int | None = None) -> list[np.ndarray]:
    """The outputs of a part of a network as arrays, a list.

    Args:
        part: The part.
        inputs: A batch, or the arrays that the part before gave.
        count: How many samples there are, if batches shrink: they are padded to a power of two, so
            that few sizes are compiled.
    """
    padding = 0 if count is None else (1 << (count - 1).bit_length()) - count
    if padding:
        inputs = keras.tree.map_structure(
            lambda array: np.concatenate([array, np.repeat(array[-1:], padding, 0)]), inputs
        )
    if isinstance(inputs, list) and len(inputs) == 1:
        (inputs,) = inputs
    outputs = keras.tree.flatten(part.predict_on_batch(inputs))
    return [np.asarray(output)[:count] for output in outputs]
