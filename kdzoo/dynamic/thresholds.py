"""The thresholds of confidence at which a network's exits stop; NumPy alone."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from kdzoo.utils import shown

Rule = Literal["geometric", "skipping", "shared"]
RULES: tuple[Rule, ...] = ("geometric", "skipping", "shared")
_HALVINGS = 60
_TRIED = 201
_LARGEST_RATIO = 1e9


def exits_taken(confidences: np.ndarray, thresholds: Sequence[float]) -> np.ndarray:
    """Returns the exit at which each sample stops, counted from 0: the first that is sure enough.

    Args:
        confidences: Array `(exits, samples)`.
        thresholds: The least confidence with which each exit but the last stops.

    Returns:
        Array `(samples,)` of integers.
    """
    stops = confidences[:-1] >= np.asarray(thresholds, "float64")[:, None]
    stops = np.concatenate([stops, np.ones((1, confidences.shape[1]), bool)])
    return stops.argmax(0)


def accuracy_of(
    confidences: np.ndarray, are_right: np.ndarray, thresholds: Sequence[float]
) -> float:
    """Returns the fraction of samples that are right where they stop.

    Args:
        confidences: Array `(exits, samples)`.
        are_right: Booleans `(exits, samples)`: whether the exit predicts the label.
        thresholds: The least confidence with which each exit but the last stops.
    """
    taken = exits_taken(confidences, thresholds)
    return float(np.take_along_axis(are_right, taken[None], 0).mean())


def thresholds_of_fractions(confidences: np.ndarray, fractions: Sequence[float]) -> list[float]:
    """Returns thresholds by which about such fractions of the samples stop at each exit.

    Args:
        confidences: Array `(exits, samples)`.
        fractions: A number for each exit; they sum to 1.

    Returns:
        A threshold for each exit but the last; infinity where none is to stop.
    """
    left = np.ones(confidences.shape[1], bool)
    thresholds, due = [], 0.0
    for confidence, fraction in zip(confidences[:-1], fractions, strict=False):
        due += fraction * confidences.shape[1]
        wanted = round(due) - int((~left).sum())
        inside = np.sort(confidence[left])[::-1]
        if wanted <= 0 or not inside.size:
            thresholds.append(math.inf)
            continue
        least = inside[min(wanted, inside.size) - 1]
        after = inside[inside < least]
        # Between what stops and what goes on, so that it holds for other samples.
        threshold = (least + after[0]) / 2 if after.size else least
        thresholds.append(
            float(threshold if threshold > (after[0] if after.size else -1) else least)
        )
        left &= confidence < thresholds[-1]
    return thresholds


def geometric_fractions(count: int, ratio: float) -> list[float]:
    """Returns the fractions of samples that stop at each exit, each a multiple of the one before.

    Args:
        count: How many exits there are.
        ratio: The multiple: from 0, all stop at the first exit, to infinity, all go to the last.
    """
    logs = np.arange(count) * math.log(max(ratio, 1e-300))
    powers = np.exp(logs - logs.max())
    return [float(part) for part in powers / powers.sum()]


def fit_to_budget(
    confidences: np.ndarray,
    are_right: np.ndarray,
    costs: Sequence[float],
    budget: float,
    rule: Rule = "geometric",
) -> list[float]:
    """Returns the thresholds whose mean cost comes nearest to a budget from below.

    Args:
        confidences: Array `(exits, samples)` of validation samples.
        are_right: Booleans `(exits, samples)`: whether the exit predicts the label.
        costs: The cost of a sample up to each exit, increasing.
        budget: The mean cost of a sample, in the unit of `costs`.
        rule: How the exits share the samples: in geometric fractions, all of them or those from
            one to another that can use up the budget, whichever are most accurate; or by one
            threshold for all.

    Returns:
        A threshold for each exit but the last.

    Raises:
        ValueError: If the budget is below the cost of the first exit.
    """
    if not budget >= costs[0]:
        raise ValueError(
            f"Expected a budget of at least {costs[0]:g}, the cost of the first exit. Received: "
            f"budget={shown(budget)}"
        )
    if budget >= costs[-1]:
        return [math.inf] * (len(costs) - 1)
    if budget == costs[0]:
        return [0.0] * (len(costs) - 1)

    if rule == "skipping":
        return _of_exits_in_a_row(confidences, are_right, costs, budget)

    def is_within(ratio):
        taken = exits_taken(confidences, _thresholds_at(confidences, ratio, rule))
        return np.asarray(costs)[taken].mean() <= budget

    return _thresholds_at(confidences, _largest(is_within), rule)


def fit_to_accuracy(
    confidences: np.ndarray,
    are_right: np.ndarray,
    costs: Sequence[float],
    accuracy: float,
    rule: Rule = "geometric",
) -> list[float]:
    """Returns the cheapest thresholds that reach an accuracy on the validation samples.

    Args:
        confidences: Array `(exits, samples)`.
        are_right: Booleans `(exits, samples)`: whether the exit predicts the label.
        costs: The cost of a sample up to each exit, increasing.
        accuracy: The least fraction of right predictions.
        rule: How the exits share the samples, as in `fit_to_budget`.

    Returns:
        A threshold for each exit but the last.

    Raises:
        ValueError: If no thresholds of this rule reach it.
    """
    best, reached = None, 0.0
    ends = [[0.0] * (len(costs) - 1), [math.inf] * (len(costs) - 1)]
    if rule == "shared":
        levels = np.unique(np.quantile(confidences[:-1], np.linspace(0, 1, _TRIED)))
        tried = [[float(level)] * (len(costs) - 1) for level in levels]
    else:
        count, ratios = len(costs), np.geomspace(1e-4, 1e4, _TRIED)
        ranges = [(0, count)]
        if rule == "skipping":
            ranges = [(first, end) for end in range(1, count + 1) for first in range(end)]
        tried = [
            _between(first, end, count, _thresholds_at(confidences[first:end], ratio, "geometric"))
            for first, end in ranges
            for ratio in (ratios if end - first > 1 else [1.0])
        ]
    for thresholds in (*ends, *tried):
        taken = exits_taken(confidences, thresholds)
        found = accuracy_of(confidences, are_right, thresholds)
        cost = float(np.asarray(costs)[taken].mean())
        reached = max(reached, found)
        if found >= accuracy and (best is None or cost < best[0]):
            best = cost, thresholds
    if best is None:
        raise ValueError(
            f"Expected an accuracy of at most {reached:.4f}, which the exits reach on these "
            f"samples. Received: accuracy={shown(accuracy)}"
        )
    return best[1]


def _thresholds_at(confidences: np.ndarray, ratio: float, rule: Rule) -> list[float]:
    """The thresholds of a rule for a number from 0, all stop at once, to infinity, none does."""
    count = len(confidences)
    if rule == "geometric":
        return thresholds_of_fractions(confidences, geometric_fractions(count, ratio))
    return [1 - 1 / (1 + ratio)] * (count - 1)


def _of_exits_in_a_row(
    confidences: np.ndarray, are_right: np.ndarray, costs: Sequence[float], budget: float
) -> list[float]:
    """The most accurate thresholds of a budget by which only exits in a row are used."""
    firsts = [place for place, cost in enumerate(costs) if cost <= budget]
    # With a last exit that costs less, some of the budget would be left.
    lasts = range(firsts[-1] + (costs[firsts[-1]] < budget), len(costs))
    found = []
    for first, last in itertools.product(firsts, lasts):
        used = slice(first, last + 1)
        own = fit_to_budget(confidences[used], are_right[used], costs[used], budget)
        found.append(_between(first, last + 1, len(costs), own))
    return max(found, key=lambda thresholds: accuracy_of(confidences, are_right, thresholds))


def _between(first: int, end: int, count: int, thresholds: list[float]) -> list[float]:
    """The thresholds of all of `count` exits, of which only those from one to another are used."""
    return [math.inf] * first + (thresholds + [0.0] * (count - end))[: count - 1 - first]


def _largest(is_within: Callable[[float], bool]) -> float:
    """The largest ratio that keeps a condition which small ratios keep and large ones break."""
    low, high = 1 / _LARGEST_RATIO, _LARGEST_RATIO
    if not is_within(low):
        return 0.0
    if is_within(high):
        return high
    for _ in range(_HALVINGS):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if is_within(middle) else (low, middle)
    return low
