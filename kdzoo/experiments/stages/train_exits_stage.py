"""A network of several exits, all of them trained at once."""

import dataclasses
from typing import TYPE_CHECKING, Any

from kdzoo import dynamic, losses
from kdzoo.distillation import argument_checks
from kdzoo.experiments import build_and_fit
from kdzoo.experiments.joint_training import JointTraining
from kdzoo.experiments.measure_exits import measure_exits
from kdzoo.experiments.stage import Dependency, register
from kdzoo.utils import check_flag, check_integer, shown

if TYPE_CHECKING:
    import keras

    from kdzoo.experiments.stage_context import StageContext


@register
@dataclasses.dataclass(frozen=True)
class TrainExits(JointTraining):
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
        argument_checks.check_student_loss_weight(self.student_loss_weight)
        check_flag("equal_gradients", self.equal_gradients)
        if self.only is not None:
            check_integer("only", self.only)

    def _network(self, model: "keras.Model", precision: str, seed: int) -> "keras.Model":
        with build_and_fit.computing_in(precision):
            if self.at:
                model = dynamic.add_exits(model, self.at, self.heads)  # type: ignore[arg-type]
            return model if self.only is None else dynamic.exit_model(model, self.only)

    def _learner(
        self, model: "keras.Model", teacher: "keras.Model | None", seed: int
    ) -> "dynamic.ExitLearner":
        return dynamic.ExitLearner(
            model,
            teacher,
            self.student_loss_weight,
            losses.SoftTargets(self.temperature),
            list(self.exit_weights) or None,
            self.equal_gradients,
        )

    def _measure_all(self, model: "keras.Model", context: "StageContext") -> dict[str, Any]:
        last = dynamic.exit_model(model, -1)
        return {**measure_exits(model, context.data), **self.by_class(last, context)}
