"""A trained network with fewer filters, trained on after each step of pruning."""

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from kdzoo import losses, schemes
from kdzoo.experiments import (
    build_and_fit,
    keep_teacher_outputs,
    optimizer_and_schedule,
    pruned_models,
)
from kdzoo.experiments.measure_model import measure
from kdzoo.experiments.retrained_stage import Retrained
from kdzoo.experiments.stage import Dependency, register
from kdzoo.experiments.stage_outcome import Outcome
from kdzoo.experiments.training_settings import (
    FLOAT32,
    SAID_OF_PRECISION,
    Training,
)
from kdzoo.utils import check_choice, check_positive_integer
from kdzoo.utils.compression_arguments import FILTER_SCOPES

if TYPE_CHECKING:
    from kdzoo.experiments.stage_context import StageContext


@register
@dataclasses.dataclass(frozen=True)
class PruneFilters(Retrained):
    """Takes filters of a trained model by `kdzoo.schemes.filter_pruning`.

    Its row has the MACs, parameters and the latency in LiteRT of the model before and after.

    Attributes:
        start: The stage whose model is pruned.
        training: The training after each step.
        target: What may be left or goes: (name of the argument of `filter_pruning`, its value).
        steps: In how many steps channels go.
        importance: The criterion, one that needs no data.
        scope: As in `kdzoo.compression.prune_filters`.
        round_to: As in `kdzoo.compression.prune_filters`.
        teacher: The stage that teaches meanwhile, usually `start`; None for the labels alone.
        temperature: T of the soft targets.
        student_loss_weight: Weight of the loss on labels, between 0 and 1, beside a teacher.
        views: For how many augmented views of each image the teacher's outputs are recorded, at
            most; None for a teacher that predicts at every step.
        teacher_precision: The dtype policy that the teacher predicts in.
    """

    start: Dependency
    training: Training
    target: tuple[str, float] = ("target_macs", 0.5)
    steps: int = 3
    importance: str = "group_l2"
    scope: Literal["global", "local"] = "global"
    round_to: int = 8
    teacher: Dependency | None = None
    temperature: float = 4.0
    student_loss_weight: float = 0.1
    views: int | None = None
    teacher_precision: str = dataclasses.field(default=FLOAT32, metadata=SAID_OF_PRECISION)

    has_architecture: ClassVar[bool] = False

    @property
    def title(self) -> str:
        name, value = self.target
        taught = "" if self.teacher is None else ", taught"
        if name == "ratio":
            return f"{value:.0%} fewer channels{taught}"
        left = f"latency to {value:g} ms" if name.endswith("_ms") else f"{name[7:]} to {value:.0%}"
        return f"{left}{taught}"

    @property
    def epochs(self) -> int:
        return self.training.epochs * self.steps

    def check(self) -> None:
        super().check()
        pruned_models.check_settings(self.target, self.importance)
        for field in ("steps", "round_to"):
            check_positive_integer(field, getattr(self, field))
        check_choice("scope", self.scope, FILTER_SCOPES)

    def smoke(self) -> "PruneFilters":
        training, views = self.training.smoke(), self.views and 1
        return dataclasses.replace(self, training=training, steps=1, views=views)

    def run(self, context: "StageContext") -> Outcome:
        model = context.source("start", context.settled("precision", self.training.precision))
        teacher, batches = self._teacher_and_batches(context)
        target: dict[str, Any] = dict([self.target])
        smaller, history = schemes.filter_pruning(
            model,
            batches,
            context.directory,
            epochs=self.training.epochs,
            loss=build_and_fit.cross_entropy(),
            steps=self.steps,
            **target,
            importance=self.importance,
            scope=self.scope,
            round_to=self.round_to,
            teacher=teacher,
            distillation_loss=losses.SoftTargets(self.temperature),
            student_loss_weight=self.student_loss_weight,
            optimizer=optimizer_and_schedule.optimizer(self.training, context.data),
            metrics=["accuracy"],
            seed=context.seed,
            **build_and_fit.options(context),
        )
        made = pruned_models.computing_like(
            smaller, build_and_fit.create(context.built, context.data)
        )
        costs = pruned_models.measured_costs(made, context.source("start"))
        return Outcome({"model": made}, {**measure(made, context.data), **costs}, history)

    def _teacher_and_batches(self, context: "StageContext") -> tuple[Any, Any]:
        """The teacher as `filter_pruning` takes it, and the batches."""
        if self.teacher is None:
            return None, build_and_fit.batches(self.training, context)
        is_augmented = self.training.augmentation_for(context.data.name) is not None
        if not self.views or not is_augmented:
            precision = context.settled("teacher_precision", self.teacher_precision)
            return context.source("teacher", precision), build_and_fit.batches(
                self.training, context
            )
        split = keep_teacher_outputs.recorded_split(
            context, self.training, self.views, self.teacher_precision, epochs=self.epochs
        )
        size, seed = self.training.batch_size, context.seed
        return "recorded", lambda epoch: split.batches(
            size, shuffle=True, seed=seed, initial_epoch=epoch, layers=()
        )
