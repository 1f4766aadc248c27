"""A slimmable network, whose widths are trained at once, or a width trained alone."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from kdzoo import dynamic, evaluation, losses
from kdzoo.distillation import argument_checks
from kdzoo.experiments import build_and_fit
from kdzoo.experiments.measure_model import measure
from kdzoo.experiments.stage import Dependency, check_dependency, register
from kdzoo.experiments.stage_outcome import Outcome
from kdzoo.experiments.stages.train_stage import Train
from kdzoo.graph import new_weights
from kdzoo.utils import check_flag, check_integer, check_positive_integer, is_number, shown

if TYPE_CHECKING:
    import keras

    from kdzoo.data import Dataset
    from kdzoo.experiments.stage_context import StageContext

_BATCH = 128
_MOST = 1 << 16


@register
@dataclasses.dataclass(frozen=True)
class TrainWidths(Train):
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

    has_architecture: ClassVar[bool] = False

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
        if self.teacher is not None:
            check_dependency("teacher", self.teacher)
        if self.student_loss_weight is not None:
            argument_checks.check_student_loss_weight(self.student_loss_weight)
        losses.base.check_positive("temperature", self.temperature)

    def own_model(self, data: "Dataset") -> "keras.Model":
        return self._network(build_and_fit.create((self.architecture, self.arguments), data))

    def check_models(self, model: "keras.Model", sources: Mapping[str, Any]) -> None:
        if self.only is None:
            self._learner(model, sources.get("teacher"))

    def run(self, context: "StageContext") -> Outcome:
        precision = context.settled("precision", self.training.precision)
        # Before the seed is set, as a model that is loaded draws random numbers, too.
        teacher = None if self.teacher is None else context.source("teacher")
        built = build_and_fit.create_seeded(context, precision)
        model = self._network(built, precision, context.seed)
        if self.only is None:
            history = self._fit_all(model, teacher, context)
        else:
            history = self.fit(model, context)
        whole = self.own_model(context.data)
        whole.set_weights(model.get_weights())
        if self.only is None and self.calibration:
            images = context.data.train.arrays()[0][: _BATCH * self.calibration]
            whole.calibrate(images, _BATCH, self.calibration)
        return Outcome({"model": whole}, self._measured(whole, context), history)

    def _network(
        self, model: "keras.Model", precision: str = "float32", seed: int = 0
    ) -> "keras.Model":
        """The slimmable network, or one width with new weights, of what the architecture builds."""
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
        self, model: "keras.Model", teacher: "keras.Model | None", seed: int = 0
    ) -> "dynamic.WidthLearner":
        return dynamic.WidthLearner(
            model,
            teacher,
            self.student_loss_weight,
            losses.SoftTargets(self.temperature),
            self.middle_widths,
            seed,
        )

    def _fit_all(
        self, model: "keras.Model", teacher: "keras.Model | None", context: "StageContext"
    ) -> dict[str, Any]:
        """Trains all widths of a fresh network in place and returns their history."""
        context = self.with_transfer(context)
        learner = self._learner(model, teacher, context.seed)
        batches = build_and_fit.batches(self.training, context)
        return build_and_fit.fit(
            learner, self.training, context, batches, reuse=True, loss=self.loss
        )

    def _measured(self, model: "keras.Model", context: "StageContext") -> dict[str, Any]:
        """What the row says of a model in float32."""
        if self.only is not None:
            macs = {"macs": evaluation.count_macs(model)}
            return {**measure(model, context.data), **macs, **self.by_class(model, context)}
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
