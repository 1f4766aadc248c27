"""A student that first learns a hidden layer of its teacher: FitNets' two stages."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from kdzoo import losses, schemes
from kdzoo.distillation import distiller
from kdzoo.experiments import build_and_fit, optimizer_and_schedule
from kdzoo.experiments.stage import register
from kdzoo.experiments.stages.distill_stage import Distill
from kdzoo.graph import taps
from kdzoo.utils import check_positive_integer, shown

if TYPE_CHECKING:
    import keras

    from kdzoo.experiments.stage_context import StageContext


@register
@dataclasses.dataclass(frozen=True)
class HintTraining(Distill):
    """Trains a student by `kdzoo.schemes.hint_training`.

    Attributes:
        hints: (hint layer, guided layer, epochs) of the first of the two trainings; None as the
            hint layer for labels in its place. Its epochs come on top of those of `training`. The
            second training learns from the one loss in `losses`.
    """

    hints: tuple[str | None, str, int] = dataclasses.field(kw_only=True)

    takes_ensembles: ClassVar[bool] = False

    @property
    def epochs(self) -> int:
        return self.hints[2] + self.training.epochs

    def check(self) -> None:
        super().check()
        if len(self.losses) != 1:
            raise ValueError(
                "Expected one loss for a student that is taught by hints: the soft targets of the "
                f"second stage. Received: losses={shown(self.losses)}"
            )
        if self.views is not None:
            raise ValueError(
                "Expected no views for a student that is taught by hints, whose teacher predicts "
                f"at every step. Received: views={self.views}"
            )
        if not isinstance(self.hints, tuple | list) or len(self.hints) != 3:
            raise ValueError(
                "Expected hints as (hint layer, guided layer, epochs). Received: "
                f"hints={shown(self.hints)}"
            )
        check_positive_integer("hints[2], epochs,", self.hints[2])

    def check_models(self, model: "keras.Model", sources: Mapping[str, Any]) -> None:
        super().check_models(model, sources)
        hint_layer, guided_layer, _ = self.hints
        guided = taps.cut(model, guided_layer)
        if hint_layer is not None:
            hint = taps.cut(sources["teacher"], hint_layer)
            distiller.Distiller(hint, guided, losses.Hint(), student_loss_weight=0.0)

    def smoke(self) -> "HintTraining":
        transfer = self.transfer and self.transfer.smoke()
        hints = (*self.hints[:2], 1)
        return dataclasses.replace(
            self, training=self.training.smoke(), transfer=transfer, hints=hints
        )

    def fit(self, model: "keras.Model", context: "StageContext") -> dict[str, Any]:
        hint_layer, guided_layer, hint_epochs = self.hints
        context = self.with_transfer(context)
        _, history = schemes.hint_training(
            context.source("teacher", context.settled("teacher_precision", self.teacher_precision)),
            model,
            hint_layer,
            guided_layer,
            build_and_fit.batches(self.training, context),
            context.directory,
            hint_epochs=hint_epochs,
            epochs=self.training.epochs,
            loss=self.loss,
            soft_targets=self.make_losses()[0][0],
            student_loss_weight=self.student_loss_weight,
            teacher_weight=self.teacher_weight or (self.losses[0][2],) * 2,
            hint_optimizer=optimizer_and_schedule.optimizer(
                self.training, context.data, hint_epochs
            ),
            optimizer=optimizer_and_schedule.optimizer(self.training, context.data),
            metrics=["accuracy"],
            **build_and_fit.options(context),
        )
        return history
