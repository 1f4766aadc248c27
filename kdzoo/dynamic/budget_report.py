"""What a classifier of a budget does with samples, and whether samples are fit to choose it by."""

import dataclasses
import warnings
from collections.abc import Sequence

import numpy as np

from kdzoo.dynamic.thresholds import accuracy_of, exits_taken

_KEPT = 0.05  # How far below a budget the mean cost may be.
_MOST_NAMED = 5


@dataclasses.dataclass(frozen=True)
class BudgetReport:
    """What a budgeted classifier does with samples.

    Attributes:
        accuracy: Fraction of right predictions.
        mean_cost: Mean cost of a sample, in the unit of `costs`.
        fractions: Fraction of the samples that stop at each exit.
        exit_accuracies: Fraction of right predictions if all samples stop at this exit.
        costs: Cost of a sample up to each exit.
        thresholds: Least confidence with which each exit but the last stops.
    """

    accuracy: float
    mean_cost: float
    fractions: list[float]
    exit_accuracies: list[float]
    costs: list[float]
    thresholds: list[float]


@dataclasses.dataclass(frozen=True)
class BudgetedPredictions:
    """What a budgeted classifier predicts.

    Attributes:
        logits: Array `(samples, classes)`, of the exit at which each sample stopped.
        exits: Integers `(samples,)`: that exit, 1 is the first.
        mean_cost: Mean cost of a sample.
    """

    logits: np.ndarray
    exits: np.ndarray
    mean_cost: float

    @property
    def classes(self) -> np.ndarray:
        """Integers `(samples,)`, the predicted classes."""
        return self.logits.argmax(-1)


def report_of(
    confidences: np.ndarray,
    are_right: np.ndarray,
    costs: Sequence[float],
    thresholds: Sequence[float],
) -> BudgetReport:
    """Returns what thresholds do with samples.

    Args:
        confidences: Array `(exits, samples)`.
        are_right: Booleans `(exits, samples)`: whether the exit predicts the label.
        costs: The cost of a sample up to each exit.
        thresholds: The least confidence with which each exit but the last stops.
    """
    taken = exits_taken(confidences, thresholds)
    return BudgetReport(
        accuracy=accuracy_of(confidences, are_right, thresholds),
        mean_cost=float(np.asarray(costs)[taken].mean()),
        fractions=[float((taken == place).mean()) for place in range(len(costs))],
        exit_accuracies=[float(row.mean()) for row in are_right],
        costs=list(costs),
        thresholds=list(thresholds),
    )


def check_samples(labels: np.ndarray, exits: int, classes: int) -> None:
    """Raises or warns if validation samples are unfit to choose thresholds by.

    Args:
        labels: Integers `(samples,)`, the classes.
        exits: How many exits there are.
        classes: How many classes there are.

    Raises:
        ValueError: If there are fewer samples than exits.

    Warns:
        UserWarning: If a class is missing.
    """
    if len(labels) < exits:
        raise ValueError(
            f"Expected at least {exits} validation samples, one for each exit, and better hundreds "
            f"of them. Received: {len(labels)}"
        )
    missing = np.flatnonzero(np.bincount(labels, minlength=classes) == 0).tolist()
    if missing:
        named = ", ".join(map(str, missing[:_MOST_NAMED]))
        more = " ..." if len(missing) > _MOST_NAMED else ""
        warnings.warn(
            f"Expected validation samples of all {classes} classes, as the thresholds hold for "
            f"what they were chosen by. Received: none of class {named}{more}",
            stacklevel=3,
        )


def warn_unless_kept(report: BudgetReport, budget: float, samples: int) -> None:
    """Warns if the mean cost is far below a budget that the exits could use.

    Args:
        report: What the chosen thresholds do with the validation samples.
        budget: The mean cost of a sample.
        samples: How many samples there are.
    """
    if report.mean_cost < (1 - _KEPT) * min(budget, report.costs[-1]):
        warnings.warn(
            "Expected validation samples by whose confidence a mean cost within 5 % of the budget "
            f"can be kept. Received: {samples} samples, a mean cost of {report.mean_cost:g} for "
            f"budget={budget:g}; give more samples, or look for many of equal confidence.",
            stacklevel=3,
        )
