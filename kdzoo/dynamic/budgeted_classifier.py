"""A network of several exits that stops when it is sure, at a mean cost that is kept."""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike

from kdzoo.dynamic.exits import exit_macs, exit_parts
from kdzoo.dynamic.thresholds import (
    RULES,
    Rule,
    exits_taken,
    fit_to_accuracy,
    fit_to_budget,
)
from kdzoo.evaluation.labelled_batches import (
    check_finite_outputs,
    check_inputs,
    labelled_batches,
)
from kdzoo.graph.confidence import CONFIDENCES, Confidence, confidence_of
from kdzoo.graph.exportable import Exits, Exportable
from kdzoo.graph.final_activation import final_activation
from kdzoo.graph.predictions import class_indices
from kdzoo.utils import check_choice, check_number, is_number, shown


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


class BudgetedClassifier(Exportable):
    """Runs a network of several exits and stops each sample at the first exit that is sure of it.

    `fit` chooses from validation samples how sure each exit must be, so that the mean cost of a
    sample keeps to a budget, or the accuracy to a goal.

    Args:
        model: A functional `keras.Model` of two or more exits, from the first to the last, which
            give logits `(batch, classes)`. Its weights are copied.
        confidence: How sure an exit is: `"max_probability"`, `"entropy"` or `"margin"`.
        costs: The cost of a sample up to each exit, increasing, in any unit, such as measured
            milliseconds; multiply-accumulates, heads of earlier exits included, when None.

    Raises:
        ValueError: If the model has one output or no graph, or costs do not increase.

    Example:

    ```python
    classifier = kdzoo.dynamic.BudgetedClassifier(exits)
    report = classifier.fit(validation_images, validation_labels, budget=20e6)
    predictions = classifier.predict(images)
    predictions.classes, predictions.exits, predictions.mean_cost
    kdzoo.export.to_litert(classifier, "exits.tflite", representative_data=validation_images)
    ```

    Reference: Huang et al., "Multi-scale dense networks", 2018, arXiv:1703.09844, section 5.
    """

    def __init__(
        self,
        model: keras.Model,
        confidence: Confidence = "max_probability",
        costs: Sequence[float] | None = None,
    ):
        if activation := final_activation(model):
            raise ValueError(
                f"Expected exits that give logits. Received: {model.name!r}, of which one ends in "
                f"a {activation}"
            )
        self.parts = exit_parts(model)
        self.confidence = check_choice("confidence", confidence, CONFIDENCES)
        shapes = [tuple(output.shape) for output in keras.tree.flatten(model.outputs)]
        if any(len(shape) != 2 or shape[1] == 1 for shape in shapes):
            raise ValueError(
                "Expected exits that give logits (batch, classes) of two classes or more. "
                f"Received: {shapes}"
            )
        self.costs = _check_costs(exit_macs(model) if costs is None else costs, len(self.parts))
        self._thresholds: list[float] | None = None

    @property
    def thresholds(self) -> list[float]:
        """The least confidence with which each exit but the last stops; set it, or call `fit`."""
        if self._thresholds is None:
            raise ValueError(
                "Expected thresholds. Received: a classifier without them; call `fit` on "
                "validation samples, or set `thresholds`."
            )
        return list(self._thresholds)

    @thresholds.setter
    def thresholds(self, given: Sequence[float]) -> None:
        count = len(self.parts) - 1
        is_right = isinstance(given, list | tuple) and len(given) == count
        if not is_right or not all(is_number(value) and 0 <= value <= np.inf for value in given):
            raise ValueError(
                f"Expected {count} thresholds of at least 0, one for each exit but the last. "
                f"Received: thresholds={shown(given)}"
            )
        self._thresholds = [float(value) if value < 1e300 else np.inf for value in given]

    def fit(
        self,
        x: Any,
        y: ArrayLike | None = None,
        *,
        budget: float | None = None,
        accuracy: float | None = None,
        rule: Rule = "geometric",
        batch_size: int = 128,
    ) -> BudgetReport:
        """Chooses the thresholds on validation samples, all of which run through all exits.

        Args:
            x: Array `(samples, ...)`, or a dataset of batches `(x, y)`.
            y: Labels: integers, or one-hot. None when `x` is a dataset.
            budget: The mean cost of a sample that is not exceeded, in the unit of `costs`.
            accuracy: The accuracy, from 0 to 1, that is reached at the least cost. One of both
                is given.
            rule: `"geometric"`: of the samples that stop at an exit, a constant multiple stops at
                the next. `"shared"`: one threshold for all exits.
            batch_size: Samples in one step when `x` is an array.

        Returns:
            A `BudgetReport` of these samples.

        Raises:
            ValueError: If neither or both are given, the budget is below the first exit's cost, no
                thresholds reach the accuracy, or there is no sample or label.
        """
        check_choice("rule", rule, RULES)
        if (budget is None) == (accuracy is None):
            raise ValueError(
                "Expected a budget or an accuracy. Received: "
                f"budget={shown(budget)}, accuracy={shown(accuracy)}"
            )
        confidences, are_right = self._measured(x, y, batch_size)
        if budget is not None:
            budget = check_number("budget", budget, least=0)
            self._thresholds = fit_to_budget(confidences, self.costs, budget, rule)
        else:
            accuracy = check_number("accuracy", accuracy, 0, 1)
            self._thresholds = fit_to_accuracy(confidences, are_right, self.costs, accuracy, rule)
        return self._report(confidences, are_right)

    def evaluate(self, x: Any, y: ArrayLike | None = None, batch_size: int = 128) -> BudgetReport:
        """Returns what the classifier does with samples, all of which run through all exits.

        Args:
            x: Array `(samples, ...)`, or a dataset of batches `(x, y)`.
            y: Labels: integers, or one-hot. None when `x` is a dataset.
            batch_size: Samples in one step when `x` is an array.

        Raises:
            ValueError: If there are no thresholds, or there is no sample or label.
        """
        _ = self.thresholds
        return self._report(*self._measured(x, y, batch_size))

    def predict(self, x: Any, batch_size: int = 128) -> BudgetedPredictions:
        """Returns predictions; of each sample no more is computed than up to where it stops.

        Args:
            x: Array `(samples, ...)`, or a dataset of batches.
            batch_size: Samples in one step when `x` is an array.

        Raises:
            ValueError: If there are no thresholds, or there is no sample.
        """
        thresholds = [*self.thresholds, -np.inf]
        logits, exits = [], []
        for batch, _ in labelled_batches(x, None, batch_size):
            check_inputs(batch, self.parts[0])
            found, stopped = self._run(batch, thresholds)
            logits.append(found)
            exits.append(stopped)
        taken = np.concatenate(exits)
        mean_cost = float(np.asarray(self.costs)[taken].mean())
        return BudgetedPredictions(np.concatenate(logits), taken + 1, mean_cost)

    def exits(self) -> Exits:
        """Returns the parts, and what chooses between them, for an export."""
        confidence, thresholds = self.confidence, self._thresholds
        return Exits(self.parts, confidence, thresholds, self.costs)

    def anytime(self, x: Any) -> Iterator[np.ndarray]:
        """Yields the logits of each exit, from the first to the last, as soon as it is computed.

        Whoever runs out of time takes the last that came; what follows is then not computed.

        Args:
            x: A batch of inputs.

        Yields:
            Arrays `(samples, classes)`.
        """
        check_inputs(x, self.parts[0])
        carried = x
        for part in self.parts:
            logits, *carried = _outputs(part, carried)
            yield logits

    def exit_within(self, budget: float) -> int:
        """Returns the last exit, 1 is the first, whose cost for one sample is within a budget.

        Args:
            budget: A cost, in the unit of `costs`.

        Raises:
            ValueError: If the first exit already costs more.
        """
        check_number("budget", budget, least=0)
        within = [number for number, cost in enumerate(self.costs, 1) if cost <= budget]
        if not within:
            raise ValueError(
                f"Expected a budget of at least {self.costs[0]:g}, the cost of the first exit. "
                f"Received: budget={shown(budget)}"
            )
        return within[-1]

    def _run(self, batch, thresholds):
        """The logits at which each sample of a batch stopped, and the exits, counted from 0."""
        count = len(keras.tree.flatten(batch)[0])
        rows, carried = np.arange(count), batch
        logits, exits = None, np.zeros(count, int)
        for place, (part, threshold) in enumerate(zip(self.parts, thresholds, strict=True)):
            own, *carried = _outputs(part, carried, len(rows))
            check_finite_outputs(own, part)
            stops = confidence_of(own, self.confidence) >= threshold
            logits = np.zeros((count, own.shape[-1]), "float32") if logits is None else logits
            logits[rows[stops]], exits[rows[stops]] = own[stops], place
            if stops.all():
                break
            rows, carried = rows[~stops], [array[~stops] for array in carried]
        return logits, exits

    def _measured(self, x, y, batch_size):
        """Confidences and whether predictions are right, both `(exits, samples)`."""
        confidences, are_right = [], []
        for batch, labels in labelled_batches(x, y, batch_size):
            if labels is None:
                raise ValueError(
                    "Expected data with labels, (x, y). Received: samples without labels."
                )
            outputs = list(self.anytime(batch))
            for own in outputs:
                check_finite_outputs(own, self.parts[-1])
            wanted = class_indices(labels, outputs[0].shape)
            confidences.append([confidence_of(own, self.confidence) for own in outputs])
            are_right.append([own.argmax(-1) == wanted for own in outputs])
        return np.concatenate(confidences, -1), np.concatenate(are_right, -1)

    def _report(self, confidences, are_right):
        taken = exits_taken(confidences, self.thresholds)
        count = len(self.costs)
        return BudgetReport(
            accuracy=float(np.take_along_axis(are_right, taken[None], 0).mean()),
            mean_cost=float(np.asarray(self.costs)[taken].mean()),
            fractions=[float((taken == place).mean()) for place in range(count)],
            exit_accuracies=[float(row.mean()) for row in are_right],
            costs=list(self.costs),
            thresholds=self.thresholds,
        )


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


def _check_costs(costs: Any, count: int) -> list[float]:
    """The costs as a list of floats, or raises."""
    is_right = isinstance(costs, list | tuple) and len(costs) == count
    if not is_right or not all(is_number(cost) and 0 < cost < np.inf for cost in costs):
        raise ValueError(
            f"Expected a cost above 0 for each of {count} exits. Received: costs={shown(costs)}"
        )
    if any(one >= other for one, other in itertools.pairwise(costs)):
        raise ValueError(f"Expected costs that increase. Received: costs={shown(list(costs))}")
    return [float(cost) for cost in costs]
