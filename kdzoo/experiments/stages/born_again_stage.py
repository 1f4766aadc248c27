"""Generations of one network, each taught by the one before; the last of them is delivered."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kdzoo import losses, schemes
from kdzoo.distillation import argument_checks, distiller
from kdzoo.experiments import build_and_fit, optimizer_and_schedule, several_models
from kdzoo.experiments.stage import Dependency, check_dependency, register
from kdzoo.experiments.stage_outcome import Outcome
from kdzoo.experiments.stages.train_stage import Train
from kdzoo.utils import check_choice, check_positive_integer

if TYPE_CHECKING:
    import keras

    from kdzoo.experiments.stage_context import StageContext

_VARIANTS = ("soft_targets", "cwtm", "dkpp")


@register
@dataclasses.dataclass(frozen=True)
class BornAgain(Train):
    """Trains generations of a network by `kdzoo.schemes.born_again`.

    The product `"model"` is the last generation; the others are `"generation-1"` and so on by their
    numbers, `"generation-0"` the one without a teacher. In the row, `"test_accuracies"` is a list
    from the last generation to the first, and `"ensemble_test_accuracy"` that of the mean of all
    their softmaxes.

    Attributes:
        generations: How many are taught, from 1 to 1000; each is trained as `training` says.
        teacher: The stage that teaches the first one; None for a generation 0, which is trained on
            the labels and counts among the products.
        variant: As `born_again` takes it.
        temperature: Divisor of the logits in the variant's loss, above 0.
        student_loss_weight: Weight of the loss on labels, between 0 and 1; None for the usual one
            of the variant.
    """

    generations: int = dataclasses.field(kw_only=True)
    teacher: Dependency | None = dataclasses.field(default=None, kw_only=True)
    variant: str = dataclasses.field(default="soft_targets", kw_only=True)
    temperature: float = dataclasses.field(default=1.0, kw_only=True)
    student_loss_weight: float | None = dataclasses.field(default=None, kw_only=True)

    @property
    def epochs(self) -> int:
        return self.training.epochs * (self.generations + (self.teacher is None))

    def check(self) -> None:
        super().check()
        check_positive_integer("generations", self.generations, 1000)
        if self.teacher is not None:
            check_dependency("teacher", self.teacher)
        check_choice("variant", self.variant, _VARIANTS)
        losses.base.check_positive("temperature", self.temperature)
        if self.student_loss_weight is not None:
            argument_checks.check_student_loss_weight(self.student_loss_weight)

    def check_models(self, model: "keras.Model", sources: Mapping[str, Any]) -> None:
        if self.teacher is not None:
            distiller.Distiller(sources["teacher"], model, losses.SoftTargets())

    def run(self, context: "StageContext") -> Outcome:
        precision = context.settled("precision", self.training.precision)
        teacher = None if self.teacher is None else context.source("teacher")
        context = self.with_transfer(context)
        students, history = schemes.born_again(
            build_and_fit.create_seeded(context, precision),
            build_and_fit.batches(self.training, context),
            context.directory,
            generations=self.generations,
            epochs=self.training.epochs,
            loss=self.loss,
            teacher=teacher,
            variant=self.variant,  # type: ignore[arg-type]
            temperature=self.temperature,
            student_loss_weight=self.student_loss_weight,
            optimizer=optimizer_and_schedule.optimizer(self.training, context.data),
            metrics=["accuracy"],
            seed=context.seed,
            **build_and_fit.options(context),
        )
        built = [context.built] * len(students)
        models = several_models.in_float32(students[::-1], built, context)
        first = 0 if teacher is None else 1
        names = [f"generation-{number}" for number in range(self.generations - 1, first - 1, -1)]
        products, measured = several_models.products_of(models, names, context, True)
        return Outcome(products, {**measured, **self.by_class(models[0], context)}, history)
