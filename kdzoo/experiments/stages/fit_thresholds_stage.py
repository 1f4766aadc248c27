"""A trained network of several exits, and how sure each must be to stop."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from kdzoo import dynamic, evaluation
from kdzoo.experiments.measure_exits import measure_budgets, measure_file
from kdzoo.experiments.stage import Built, Dependency, Stage, check_dependency, register
from kdzoo.experiments.stage_outcome import Outcome
from kdzoo.graph import confidence as confidences
from kdzoo.utils import check_choice, check_flag, is_number, shown

if TYPE_CHECKING:
    import keras

    from kdzoo.data import Dataset
    from kdzoo.experiments.stage_context import StageContext

FILE = "exits.tflite"


@register
@dataclasses.dataclass(frozen=True)
class FitThresholds(Stage):
    """Fits the thresholds of a `kdzoo.dynamic.BudgetedClassifier` to held-out images; no training.

    The row has the accuracy on the test images and `"mean_macs"`, the mean multiply-accumulates of
    one of them, where an accuracy on held-out images is kept at the least cost, and
    `"times_fewer_macs"`, beside those of the last exit's network alone. `"curve"` has a point for
    each budget. The product `"model"` is the network as it was.

    Attributes:
        start: The stage of the network of several exits, such as a `TrainExits`.
        budgets: Mean costs of a sample, as fractions of the costs of the last exit.
        kept: The stage of a plain network whose accuracy on held-out images is kept, as far as the
            last exit has it; None for that of the last exit.
        lost_accuracy: How far below it the accuracy on held-out images may be, a fraction.
        confidence: How sure an exit is, as in `BudgetedClassifier`.
        rule: How exits share the samples, as in `BudgetedClassifier.fit`.
        latency: Whether the LiteRT file is written and timed at batch 1: `"litert"` in the row, on
            TensorFlow; the product `"exits.tflite"`.
    """

    start: Dependency
    budgets: tuple[float, ...] = ()
    kept: Dependency | None = dataclasses.field(default=None, kw_only=True)
    lost_accuracy: float = dataclasses.field(default=0.0, kw_only=True)
    confidence: str = dataclasses.field(default="max_probability", kw_only=True)
    rule: str = dataclasses.field(default="geometric", kw_only=True)
    latency: bool = dataclasses.field(default=False, kw_only=True)

    has_architecture: ClassVar[bool] = False

    @property
    def title(self) -> str:
        return "stops when it is sure"

    def built_from(self, sources: Mapping[str, Built]) -> Built:
        return sources["start"]

    def check(self) -> None:
        super().check()
        check_dependency("start", self.start)
        if self.kept is not None:
            check_dependency("kept", self.kept)
        budgets = self.budgets
        are_fractions = isinstance(budgets, tuple | list) and all(
            is_number(budget) and 0 < budget <= 1 for budget in budgets
        )
        if not are_fractions:
            raise ValueError(
                "Expected budgets as a tuple of fractions of the last exit's costs, above 0 up to "
                f"1. Received: budgets={shown(budgets)}"
            )
        if not is_number(self.lost_accuracy) or not 0 <= self.lost_accuracy < 1:
            raise ValueError(
                "Expected lost_accuracy from 0 to 1. Received: "
                f"lost_accuracy={shown(self.lost_accuracy)}"
            )
        check_choice("confidence", self.confidence, confidences.CONFIDENCES)
        check_choice("rule", self.rule, dynamic.thresholds.RULES)
        check_flag("latency", self.latency)

    def check_data(self, data: "Dataset") -> None:
        if data.validation is None:
            raise ValueError(
                "Expected data with validation images, to which thresholds are fitted. Received: "
                f"data={data!r} without them"
            )

    def check_models(self, model: "keras.Model", sources: Mapping[str, Any]) -> None:
        costs = dynamic.exit_macs(sources["start"])
        least = costs[0] / costs[-1]
        for budget in self.budgets:
            if budget < least:
                raise ValueError(
                    f"Expected budgets of at least {least:.3g}, the cost of the first exit. "
                    f"Received: {budget} among the budgets of {self.name!r}"
                )
        if self.kept is not None and len(sources["kept"].outputs) > 1:
            raise ValueError(
                "Expected kept as a stage of a network of one output. Received: "
                f"{sources['kept'].name!r} of {len(sources['kept'].outputs)} exits"
            )

    def run(self, context: "StageContext") -> Outcome:
        model = context.source("start")
        kept = None if self.kept is None else context.source("kept")
        classifier = dynamic.BudgetedClassifier(model, self.confidence)  # type: ignore[arg-type]
        measured = {
            "parameters": model.count_params(),
            **measure_budgets(
                classifier, context.data, self.budgets, self.lost_accuracy, self.rule, kept
            ),
        }
        macs = evaluation.count_macs(dynamic.exit_model(model, -1))
        measured |= {"macs": macs, "times_fewer_macs": macs / measured["mean_macs"]}
        products: dict[str, Any] = {"model": model}
        if self.latency:
            path = context.directory / FILE
            measured["litert"] = measure_file(classifier, model, path, context.data)
            products |= {FILE: path} if path.exists() else {}
        return Outcome(products, measured)
