"""A slimmable network, whose widths are trained at once, or a width trained alone."""

import dataclasses
from typing import TYPE_CHECKING, Any

from kdzoo import dynamic, evaluation, losses
from kdzoo.distillation import argument_checks
from kdzoo.experiments import build_and_fit
from kdzoo.experiments.joint_training import JointTraining
from kdzoo.experiments.measure_model import measure
from kdzoo.experiments.stage import Dependency, register
from kdzoo.graph import new_weights
from kdzoo.utils import check_flag, check_integer, check_positive_integer, is_number, shown

if TYPE_CHECKING:
    import keras

    from kdzoo.experiments.stage_context import StageContext

_BATCH = 128
_MOST = 1 << 16


@register
@dataclasses.dataclass(frozen=True)
class TrainWidths(JointTraining):
    """Trains the widths of a slimmable network by `kdzoo.dynamic.WidthLearner`, or one alone.

    The product `"model"` is the slimmable network. In its row `"test_accuracy"` is that of the last
    width, `"width_test_accuracies"` has all of them, `"width_macs"` and `"width_parameters"` their
    costs.

    Attributes:
        widths: As in `kdzoo.dynamic.Slimmable`.
        universal: Whether all widths share the scales and shifts of batch normalizations.
        round_to: Numbers of channels are multiples of this.
        middle_widths: How many widths between the first and the last a step trains; None for all.
        teacher: The stage whose model teaches all widths; None for the last width, which teaches
            the others.
        student_loss_weight: Weight of the loss on labels; None as in `WidthLearner`.
        temperature: Divisor of the logits in the loss on what teaches, above 0.
        calibration: By how many batches of training images the means and variances of batch
            normalizations are measured anew after the training; 0 for those of the training.
        only: The width that is trained alone, as a plain network with initial weights of its own:
            what the slimmable one is compared with. None for all widths.
    """

    widths: tuple[float, ...] = dataclasses.field(default=(0.25, 0.5, 0.75, 1.0), kw_only=True)
    universal: bool = dataclasses.field(default=False, kw_only=True)
    round_to: int = dataclasses.field(default=8, kw_only=True)
    middle_widths: int | None = dataclasses.field(default=None, kw_only=True)
    teacher: Dependency | None = dataclasses.field(default=None, kw_only=True)
    student_loss_weight: float | None = dataclasses.field(default=None, kw_only=True)
    temperature: float = dataclasses.field(default=1.0, kw_only=True)
    calibration: int = dataclasses.field(default=0, kw_only=True)
    only: float | None = dataclasses.field(default=None, kw_only=True)

    @property
    def title(self) -> str:
        if self.only is not None:
            return f"{self.architecture}, width {self.only:g} alone"
        return f"{self.architecture}, widths"

    def check(self) -> None:
        super().check()
        if not isinstance(self.widths, tuple | list):
            raise ValueError(f"Expected widths as a tuple. Received: widths={shown(self.widths)}")
        if self.only is not None and not (is_number(self.only) and self.only in self.widths):
            raise ValueError(
                f"Expected only to be one of the widths {tuple(self.widths)}. Received: "
                f"only={shown(self.only)}"
            )
        check_flag("universal", self.universal)
        check_positive_integer("round_to", self.round_to, _MOST)
        check_integer("calibration", self.calibration, 0, _MOST)
        if self.student_loss_weight is not None:
            argument_checks.check_student_loss_weight(self.student_loss_weight)

    def _network(self, model: "keras.Model", precision: str, seed: int) -> "keras.Model":
        with build_and_fit.computing_in(precision):
            widths = tuple(self.widths)
            if self.only is None:
                return dynamic.Slimmable(model, widths, self.universal, self.round_to)
            if self.only < 1:
                two = (self.only, 1.0)
                model = dynamic.extract(
                    dynamic.Slimmable(model, two, round_to=self.round_to), self.only
                )
            return new_weights.with_new_weights(model, f"width {self.only} {seed}")

    def _learner(
        self, model: "keras.Model", teacher: "keras.Model | None", seed: int
    ) -> "dynamic.WidthLearner":
        return dynamic.WidthLearner(
            model,
            teacher,
            self.student_loss_weight,
            losses.SoftTargets(self.temperature),
            self.middle_widths,
            seed,
        )

    def _finish(self, model: Any, context: "StageContext") -> None:
        if self.calibration:
            images = context.data.train.arrays()[0][: _BATCH * self.calibration]
            model.calibrate(images, _BATCH, self.calibration)

    def _measure_all(self, model: Any, context: "StageContext") -> dict[str, Any]:
        models = [dynamic.extract(model, width) for width in self.widths]
        measured = [measure(one, context.data) for one in models]
        row = {
            **measured[-1],
            "widths": list(self.widths),
            "width_test_accuracies": [part["test_accuracy"] for part in measured],
            "width_macs": [evaluation.count_macs(one) for one in models],
            "width_parameters": [part["parameters"] for part in measured],
            "parameters": model.count_params(),
        }
        if "validation_accuracy" in measured[-1]:
            held_out = [part["validation_accuracy"] for part in measured]
            row["width_validation_accuracies"] = held_out
        return {**row, **self.by_class(models[-1], context)}
