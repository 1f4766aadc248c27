"""A network of several exits, all of them trained at once."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from kdzoo import dynamic, evaluation, losses
from kdzoo.distillation import argument_checks
from kdzoo.experiments import build_and_fit
from kdzoo.experiments.measure_exits import measure_exits
from kdzoo.experiments.measure_model import measure
from kdzoo.experiments.stage import Dependency, check_dependency, register
from kdzoo.experiments.stage_outcome import Outcome
from kdzoo.experiments.stages.train_stage import Train
from kdzoo.utils import check_flag, check_integer, shown

if TYPE_CHECKING:
    import keras

    from kdzoo.data import Dataset
    from kdzoo.experiments.stage_context import StageContext


@register
@dataclasses.dataclass(frozen=True)
class TrainExits(Train):
    """Trains the exits of a network by `kdzoo.dynamic.ExitLearner`, or one of them alone.

    The product `"model"` is the network of several exits. In its row `"test_accuracy"` is that of
    the last exit, `"exit_test_accuracies"` has all of them, `"exit_macs"` their costs.

    Attributes:
        at: Paths of the layers at which exits are added; none for a network that has exits.
        heads: Of these exits, as in `kdzoo.dynamic.add_exits`.
        teacher: The stage whose model teaches all exits; None for the last exit, which teaches the
            others.
        student_loss_weight: Weight of the loss on labels; 1 for labels alone.
        temperature: Divisor of the logits in the loss on what teaches, above 0.
        exit_weights: The weight of each exit; none for 1 each.
        equal_gradients: Whether gradients are scaled, as in `ExitLearner`.
        only: The exit, 1 is the first and -1 the last, up to which the network is cut and trained
            alone, as a plain model: what joint training is compared with. None for all exits.
    """

    at: tuple[str, ...] = dataclasses.field(default=(), kw_only=True)
    heads: str = dataclasses.field(default="pooled", kw_only=True)
    teacher: Dependency | None = dataclasses.field(default=None, kw_only=True)
    student_loss_weight: float = dataclasses.field(default=1.0, kw_only=True)
    temperature: float = dataclasses.field(default=3.0, kw_only=True)
    exit_weights: tuple[float, ...] = dataclasses.field(default=(), kw_only=True)
    equal_gradients: bool = dataclasses.field(default=True, kw_only=True)
    only: int | None = dataclasses.field(default=None, kw_only=True)

    has_architecture: ClassVar[bool] = False

    @property
    def title(self) -> str:
        if self.only is not None:
            return f"{self.architecture}, exit {self.only} alone"
        return f"{self.architecture}, exits"

    def check(self) -> None:
        super().check()
        if not isinstance(self.at, tuple | list):
            raise ValueError(f"Expected `at` as a tuple of paths. Received: at={shown(self.at)}")
        if not isinstance(self.exit_weights, tuple | list):
            raise ValueError(
                "Expected exit_weights as a tuple of numbers. Received: "
                f"exit_weights={shown(self.exit_weights)}"
            )
        if self.teacher is not None:
            check_dependency("teacher", self.teacher)
        argument_checks.check_student_loss_weight(self.student_loss_weight)
        losses.base.check_positive("temperature", self.temperature)
        check_flag("equal_gradients", self.equal_gradients)
        if self.only is not None:
            check_integer("only", self.only)

    def own_model(self, data: "Dataset") -> "keras.Model":
        return self._network(build_and_fit.create((self.architecture, self.arguments), data))

    def check_models(self, model: "keras.Model", sources: Mapping[str, Any]) -> None:
        if self.only is None:
            self._learner(model, sources.get("teacher"))

    def run(self, context: "StageContext") -> Outcome:
        precision = context.settled("precision", self.training.precision)
        # Before the seed is set, as a model that is loaded draws random numbers, too.
        teacher = None if self.teacher is None else context.source("teacher")
        model = self._network(build_and_fit.create_seeded(context, precision), precision)
        if self.only is None:
            history = self._fit_all(model, teacher, context)
        else:
            history = self.fit(model, context)
        whole = self.own_model(context.data)
        whole.set_weights(model.get_weights())
        return Outcome({"model": whole}, self._measured(whole, context), history)

    def _network(self, model: "keras.Model", precision: str = "float32") -> "keras.Model":
        """The network with its exits, or what is left of it, of what the architecture builds."""
        with build_and_fit.computing_in(precision):
            if self.at:
                model = dynamic.add_exits(model, self.at, self.heads)  # type: ignore[arg-type]
            return model if self.only is None else dynamic.exit_model(model, self.only)

    def _learner(
        self, model: "keras.Model", teacher: "keras.Model | None"
    ) -> "dynamic.ExitLearner":
        return dynamic.ExitLearner(
            model,
            teacher,
            self.student_loss_weight,
            losses.SoftTargets(self.temperature),
            list(self.exit_weights) or None,
            self.equal_gradients,
        )

    def _fit_all(
        self, model: "keras.Model", teacher: "keras.Model | None", context: "StageContext"
    ) -> dict[str, Any]:
        """Trains all exits of a fresh network in place and returns their history."""
        context = self.with_transfer(context)
        learner, batches = (
            self._learner(model, teacher),
            build_and_fit.batches(self.training, context),
        )
        return build_and_fit.fit(
            learner, self.training, context, batches, reuse=True, loss=self.loss
        )

    def _measured(self, model: "keras.Model", context: "StageContext") -> dict[str, Any]:
        """What the row says of a model in float32."""
        if self.only is not None:
            macs = {"macs": evaluation.count_macs(model)}
            return {**measure(model, context.data), **macs, **self.by_class(model, context)}
        last = dynamic.exit_model(model, -1)
        return {**measure_exits(model, context.data), **self.by_class(last, context)}
