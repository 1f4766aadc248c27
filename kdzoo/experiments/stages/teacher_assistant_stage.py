"""A student that is taught over assistants of sizes between its own and the teacher's."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from kdzoo import schemes
from kdzoo.experiments import build_and_fit, optimizer_and_schedule, several_models
from kdzoo.experiments.stage import Built, register
from kdzoo.experiments.stage_outcome import Outcome
from kdzoo.experiments.stages.distill_stage import Distill
from kdzoo.utils import shown

if TYPE_CHECKING:
    import keras

    from kdzoo.experiments.stage_context import StageContext


@register
@dataclasses.dataclass(frozen=True)
class TeacherAssistant(Distill):
    """Trains assistants and a student by `kdzoo.schemes.teacher_assistant`.

    The chain is one stage, with one row and one history. `Distill` stages that depend on each other
    make the same chain with a row for each assistant, and with assistants that several students
    share.

    The product `"model"` is the student; `"assistant-1"` and so on are the assistants, as they are
    given. In the row, `"test_accuracies"` is a list from the student to the first assistant.

    Attributes:
        assistants: (architecture, arguments of the builder) of each, the largest first. All are
            trained as `training` says, by the one loss in `losses`, whose weight is 1.
    """

    assistants: tuple[tuple[str, dict[str, Any]], ...] = dataclasses.field(kw_only=True)

    takes_ensembles: ClassVar[bool] = False

    @property
    def epochs(self) -> int:
        return self.training.epochs * (len(self.assistants) + 1)

    def check(self) -> None:
        super().check()
        if len(self.losses) != 1 or self.losses[0][2] != 1 or self.teacher_weight is not None:
            raise ValueError(
                "Expected one loss of weight 1 for a chain of teachers, and teacher_weight=None. "
                f"Received: losses={shown(self.losses)}, teacher_weight={self.teacher_weight}"
            )
        if self.views is not None:
            raise ValueError(
                "Expected no views for a chain of teachers, who predict at every step. Received: "
                f"views={self.views}"
            )
        if not isinstance(self.assistants, tuple | list) or not self.assistants:
            raise ValueError(
                "Expected assistants as a tuple of (architecture, arguments). Received: "
                f"assistants={shown(self.assistants)}"
            )
        for assistant in self.assistants:
            several_models.check_built("assistant", assistant)

    def check_models(self, model: "keras.Model", sources: Mapping[str, Any]) -> None:
        super().check_models(model, sources)
        assistants = several_models.created_like(model, self._built)
        schemes.scheme_checks.check_chain(sources["teacher"], [*assistants, model])

    @property
    def _built(self) -> list[Built]:
        """The architectures and arguments of the assistants."""
        return [(name, arguments) for name, arguments in self.assistants]

    def run(self, context: "StageContext") -> Outcome:
        precision = context.settled("precision", self.training.precision)
        at = context.settled("teacher_precision", self.teacher_precision)
        # Before the seed is set, as a model that is loaded draws random numbers, too.
        teacher = context.source("teacher", at)
        context = self.with_transfer(context)
        student = build_and_fit.create_seeded(context, precision)
        built = self._built
        models = [*(build_and_fit.create(part, context.data, precision) for part in built), student]
        _, history = schemes.teacher_assistant(
            teacher,
            models,
            build_and_fit.batches(self.training, context),
            context.directory,
            epochs=self.training.epochs,
            loss=self.loss,
            distillation_loss=self.make_losses()[0][0],
            student_loss_weight=self.student_loss_weight,
            optimizer=optimizer_and_schedule.optimizer(self.training, context.data),
            metrics=["accuracy"],
            **build_and_fit.options(context),
        )
        whole = several_models.in_float32(models, [*built, context.built], context)[::-1]
        names = [f"assistant-{number}" for number in range(len(built), 0, -1)]
        products, measured = several_models.products_of(whole, names, context)
        return Outcome(products, {**measured, **self.by_class(whole[0], context)}, history)
