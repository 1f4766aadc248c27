"""A network of several exits that stops when it is sure, at a mean cost that is kept."""

from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike

from kdzoo.dynamic import thresholds_file
from kdzoo.dynamic.budget_report import (
    BudgetedPredictions,
    BudgetReport,
    check_samples,
    report_of,
    warn_unless_kept,
)
from kdzoo.dynamic.exit_runs import measure, outputs_in_turn, run_until_sure
from kdzoo.dynamic.exits import exit_macs, exit_parts
from kdzoo.dynamic.thresholds import RULES, Rule, fit_to_accuracy, fit_to_budget
from kdzoo.evaluation.labelled_batches import labelled_batches
from kdzoo.graph.confidence import CONFIDENCES, Confidence, check_thresholds
from kdzoo.graph.exportable import Exits, Exportable
from kdzoo.graph.final_activation import final_activation
from kdzoo.utils import check_choice, check_increasing, check_number, check_path, shown
from kdzoo.utils.types import PathLike


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
        check_choice("confidence", confidence, CONFIDENCES)
        self._confidence: Confidence = confidence
        shapes = [tuple(output.shape) for output in keras.tree.flatten(model.outputs)]
        if any(len(shape) != 2 or shape[1] == 1 for shape in shapes):
            raise ValueError(
                "Expected exits that give logits (batch, classes) of two classes or more. "
                f"Received: {shapes}"
            )
        if len(set(shapes)) > 1:
            raise ValueError(f"Expected exits of the same classes. Received: logits {shapes}")
        self.classes = shapes[0][1]
        self.costs = exit_macs(model) if costs is None else costs
        self._thresholds: list[float] | None = None

    @property
    def confidence(self) -> Confidence:
        """How sure an exit is, which the thresholds are of."""
        return self._confidence

    @property
    def costs(self) -> list[float]:
        """The cost of a sample up to each exit. Set it to what you measured, then call `fit`."""
        return list(self._costs)

    @costs.setter
    def costs(self, given: Sequence[float]) -> None:
        self._costs = check_increasing("costs", given, len(self.parts))

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
        self._thresholds = check_thresholds(given, len(self.parts) - 1)

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
                the next. `"skipping"`: so too, among all exits or those from one to another that
                can use up the budget, whichever are most accurate on these samples. `"shared"`: one
                threshold for all.
            batch_size: Samples in one step when `x` is an array.

        Returns:
            A `BudgetReport` of these samples.

        Raises:
            ValueError: If neither or both are given, the budget is below the first exit's cost, no
                thresholds reach the accuracy, there are no labels or fewer samples than exits, or
                inputs, labels or outputs are NaN.

        Warns:
            UserWarning: If a class is missing among the labels, or by these samples the mean cost
                is more than 5 % below the budget, as where many are equally sure.
        """
        check_choice("rule", rule, RULES)
        if (budget is None) == (accuracy is None):
            raise ValueError(
                "Expected a budget or an accuracy. Received: "
                f"budget={shown(budget)}, accuracy={shown(accuracy)}"
            )
        confidences, are_right, labels = measure(self.parts, x, y, self.confidence, batch_size)
        check_samples(labels, len(self.parts), self.classes)
        costs = self.costs
        if budget is not None:
            budget = check_number("budget", budget, least=0)
            self._thresholds = fit_to_budget(confidences, are_right, costs, budget, rule)
        else:
            accuracy = check_number("accuracy", accuracy, 0, 1)
            self._thresholds = fit_to_accuracy(confidences, are_right, costs, accuracy, rule)
        report = report_of(confidences, are_right, costs, self._thresholds)
        if budget is not None:
            warn_unless_kept(report, budget, len(labels))
        return report

    def evaluate(self, x: Any, y: ArrayLike | None = None, batch_size: int = 128) -> BudgetReport:
        """Returns what the classifier does with samples, all of which run through all exits.

        Args:
            x: Array `(samples, ...)`, or a dataset of batches `(x, y)`.
            y: Labels: integers, or one-hot. None when `x` is a dataset.
            batch_size: Samples in one step when `x` is an array.

        Raises:
            ValueError: If there are no thresholds, or there is no sample or label.
        """
        thresholds = self.thresholds
        found = measure(self.parts, x, y, self.confidence, batch_size)
        return report_of(found.confidences, found.are_right, self.costs, thresholds)

    def save_thresholds(self, path: PathLike) -> None:
        """Writes thresholds, confidence and costs into a JSON file.

        The network is not in it: save that with `model.save`, and give what is loaded again to a
        new classifier, whose `load_thresholds` reads the file.

        Args:
            path: The file.

        Raises:
            ValueError: If there are no thresholds.
        """
        settings = thresholds_file.Settings(self.confidence, self.costs, self.thresholds)
        thresholds_file.write(check_path("path", path), settings, self.parts)

    def load_thresholds(self, path: PathLike) -> None:
        """Takes thresholds, confidence and costs from a file that `save_thresholds` wrote.

        Args:
            path: The file.

        Raises:
            ValueError: If it is no such file, was altered, or is of a network of other weights.
        """
        settings = thresholds_file.read(check_path("path", path), self.parts)
        costs = check_increasing("costs", settings.costs, len(self.parts))
        self.thresholds = settings.thresholds
        self._confidence, self._costs = settings.confidence, costs

    def predict(self, x: Any, batch_size: int = 128) -> BudgetedPredictions:
        """Returns predictions; of each sample no more is computed than up to where it stops.

        Args:
            x: Array `(samples, ...)`, or a dataset of batches.
            batch_size: Samples in one step when `x` is an array.

        Raises:
            ValueError: If there are no thresholds, or there is no sample.
        """
        thresholds = self.thresholds
        logits, exits = [], []
        for batch, _ in labelled_batches(x, None, batch_size):
            found, stopped = run_until_sure(self.parts, batch, self.confidence, thresholds)
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
        yield from outputs_in_turn(self.parts, x)

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
