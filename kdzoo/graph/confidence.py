"""How sure a prediction is, from its logits; NumPy alone."""

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from kdzoo.utils import check_choice, is_number, shown

Confidence = Literal["max_probability", "entropy", "margin"]
_NONE_STOPS = 1e300
CONFIDENCES: tuple[Confidence, ...] = ("max_probability", "entropy", "margin")


def confidence_of(logits: ArrayLike, confidence: Confidence = "max_probability") -> np.ndarray:
    """Returns how sure predictions are, from 0 to 1.

    Args:
        logits: Array `(samples, classes)`.
        confidence: `"max_probability"`: the largest probability. `"entropy"`: 1 minus the entropy
            over that of the uniform distribution. `"margin"`: the largest probability minus the
            second largest.

    Returns:
        Array `(samples,)`, float64.

    Raises:
        ValueError: If the logits have another shape, or there is no such measure.
    """
    check_choice("confidence", confidence, CONFIDENCES)
    array = np.asarray(logits, "float64")
    if array.ndim != 2 or array.shape[1] < 2:
        raise ValueError(
            f"Expected logits (samples, classes) of two or more classes. Received: {array.shape}"
        )
    powers = np.exp(array - array.max(-1, keepdims=True))
    probabilities = powers / powers.sum(-1, keepdims=True)
    if confidence == "max_probability":
        return probabilities.max(-1)
    if confidence == "margin":
        second, first = np.sort(probabilities, -1)[:, -2:].T
        return first - second
    logs = np.log(np.maximum(probabilities, 1e-300))
    entropy = -(probabilities * logs).sum(-1)
    return np.clip(1 - entropy / math.log(array.shape[1]), 0, 1)


def check_thresholds(given: Any, count: int) -> list[float]:
    """Returns the thresholds of exits as a list of floats.

    Args:
        given: A number of at least 0 for each exit but the last; at None and from 1e300 on, which
            is infinity, none stops.
        count: How many there have to be.

    Raises:
        ValueError: If they are others.
    """
    listed = given.tolist() if isinstance(given, np.ndarray) else given
    if not isinstance(listed, list | tuple) or len(listed) != count:
        raise ValueError(
            f"Expected {count} thresholds, one for each exit but the last. Received: "
            f"thresholds={shown(given)}"
        )
    values = [math.inf if value is None else value for value in listed]
    if not all(is_number(value) and 0 <= value <= math.inf for value in values):
        raise ValueError(f"Expected thresholds of at least 0. Received: thresholds={shown(given)}")
    # Also integers that no float holds.
    return [float(value) if value < _NONE_STOPS else math.inf for value in values]
