"""A student that learns from labels and a teacher at once."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from kdzoo import losses as loss_types
from kdzoo.distillation import argument_checks, distiller
from kdzoo.experiments import build_and_fit, keep_teacher_outputs, several_models
from kdzoo.experiments.stage import Dependencies, Dependency, as_tuple, check_dependency, register
from kdzoo.experiments.stages.train_stage import Train
from kdzoo.experiments.training_settings import (
    FLOAT32,
    PRECISIONS,
    SAID_OF_PRECISION,
    check_dictionaries,
)
from kdzoo.training import callbacks
from kdzoo.utils import check_choice, check_positive_integer, first_line, shown

if TYPE_CHECKING:
    import keras

    from kdzoo.data import Dataset
    from kdzoo.distillation.distiller import Distiller
    from kdzoo.experiments.stage_context import StageContext

_BY_EXAMPLE = "ContrastiveRepresentation"  # The loss that keeps something for each example.
# As `std` of a `LogitRegression`: from the statistics of the teacher's logits for the images.
OF_TEACHER = "teacher"

Losses = tuple[tuple[str, dict[str, Any], float], ...]


def soft_targets(temperature: float = 4.0) -> Losses:
    """Returns the losses of Hinton et al. 2015, as `Distill` takes them.

    Args:
        temperature: Above 0.
    """
    return (("SoftTargets", {"temperature": temperature}, 1.0),)


_LOSSES, _TEACHER = soft_targets(), Dependency("teacher", 0)


@register
@dataclasses.dataclass(frozen=True)
class Distill(Train):
    """Trains a student in a `Distiller`.

    Where the images stay as they are, the teacher predicts once, before the training, and its
    outputs are kept in memory; with `views` they are recorded with the run and shared by all
    students of that teacher; else it predicts at every step.

    Attributes:
        losses: The distillation losses, each as (name of a class in `kdzoo.losses`, its arguments,
            its weight). `ContrastiveRepresentation` is given the labels of the training images,
            `LogitRegression` with `std="teacher"` the statistics of the teacher's logits for them.
        student_loss_weight: Weight of the loss on labels, between 0 and 1; the distillation losses
            have the rest.
        teacher: The stage that teaches; or an ensemble whose logits are averaged: a tuple of
            stages, or all seeds of one, `Dependency("member", "all")`.
        teacher_weight: (first, last) weight of the first loss, which changes evenly over the
            epochs; None for the weight in `losses`.
        views: For how many augmented views of each image the teacher's outputs are recorded, which
            the student sees in turn; None for a teacher that predicts at every step.
        teacher_precision: The dtype policy that the teacher predicts in, at every step or when its
            outputs are recorded.
        average: How an ensemble is averaged: as in `kdzoo.Ensemble`.
    """

    losses: Losses = _LOSSES
    student_loss_weight: float = 0.1
    teacher: Dependencies = _TEACHER
    teacher_weight: tuple[float, float] | None = None
    views: int | None = None
    teacher_precision: str = dataclasses.field(default=FLOAT32, metadata=SAID_OF_PRECISION)
    average: Literal["logits", "probabilities"] = dataclasses.field(default="logits", kw_only=True)

    takes_ensembles: ClassVar[bool] = True  # False where one model teaches.

    def check(self) -> None:
        super().check()
        self.check_teacher()
        if not isinstance(self.losses, tuple | list):
            raise ValueError(f"Expected losses as a tuple. Received: losses={shown(self.losses)}")
        for loss in self.losses:
            if not isinstance(loss, tuple | list) or len(loss) != 3:
                raise ValueError(
                    "Expected losses as (name, arguments, weight). Received: "
                    f"{shown(loss)} among losses={shown(self.losses)}"
                )
        check_choice("teacher_precision", self.teacher_precision, PRECISIONS)
        if self.views is not None:
            check_positive_integer("views", self.views)
            if self.training.augmentation is None:
                raise ValueError(
                    "Expected views only where the students see augmented images. Received: "
                    f"views={self.views}, augmentation=None"
                )
        made, _ = self.make_losses()
        tapping = [loss.name for loss in made if loss.teacher_layers]
        if tapping and self.has_several_teachers:
            raise ValueError(
                "Expected losses of logits alone for an ensemble of teachers. Received: "
                f"{tapping[0]!r}, which taps a layer"
            )
        argument_checks.check_student_loss_weight(self.student_loss_weight)
        if self.teacher_weight is not None:
            argument_checks.check_teacher_weight(self.teacher_weight)

    def check_teacher(self) -> None:
        """Raises `ValueError` unless it is said where the teacher's outputs come from."""
        several_models.check_average(self.average)
        if not self.has_several_teachers:
            check_dependency("teacher", self.teacher)
            return
        if not self.takes_ensembles or not self.teacher:
            raise ValueError(
                f"Expected one stage that teaches {self.name!r}. Received: "
                f"teacher={shown(self.teacher)}"
            )
        for teacher in as_tuple(self.teacher):
            check_dependency("teacher", teacher)

    @property
    def has_several_teachers(self) -> bool:
        """Whether an ensemble teaches."""
        return isinstance(self.teacher, tuple | list) or (
            isinstance(self.teacher, Dependency) and self.teacher.seed == "all"
        )

    def check_models(self, model: "keras.Model", sources: Mapping[str, Any]) -> None:
        found = sources["teacher"]
        for teacher in found if isinstance(found, tuple) else (found,):
            self.distiller(teacher, model)

    def smoke(self) -> "Distill":
        transfer = self.transfer and self.transfer.smoke()
        return dataclasses.replace(
            self, training=self.training.smoke(), transfer=transfer, views=self.views and 1
        )

    def fit(self, model: "keras.Model", context: "StageContext") -> dict[str, Any]:
        training, teacher, whole = self.training, None, context
        context = self.with_transfer(whole)
        if not (self.predicts_once or self.views):
            precision = context.settled("teacher_precision", self.teacher_precision)
            teacher = self._teacher(context, precision)
        statistics = self._statistics(context)
        student = self.distiller(teacher, model, self._labels(context.data), statistics)
        annealing = []
        if self.teacher_weight is not None:
            name = student.distillation_losses[0].name
            schedule = callbacks.linear(*self.teacher_weight, epochs=training.epochs)
            annealing = [callbacks.Anneal("distillation_loss_weight", schedule, name)]
        # What a loss keeps of layers or samples is another one for another seed.
        reuse = not any(loss.student_layers for loss in student.distillation_losses)
        reuse = reuse and statistics is None
        return build_and_fit.fit(
            student,
            training,
            context,
            self._recorded_batches(whole, context) if self.views else self._batches(context),
            annealing,
            reuse,
            self.loss,
        )

    def _teacher(self, context: "StageContext", precision: str = FLOAT32) -> "keras.Model":
        """The model that teaches: an ensemble where there are several."""
        teachers = context.all_sources("teacher", precision)
        return (
            several_models.Ensemble(teachers, self.average)
            if self.has_several_teachers
            else teachers[0]
        )

    @property
    def predicts_once(self) -> bool:
        """Whether the teacher predicts once for all epochs: where the images stay as they are."""
        return self.training.augmentation is None

    def distiller(
        self,
        teacher: "keras.Model | None",
        student: "keras.Model",
        labels: Any = None,
        statistics: Any = None,
    ) -> "Distiller":
        """Returns the `Distiller`, not compiled; with no teacher its outputs come with the data."""
        losses, weights = self.make_losses(labels, statistics)
        return distiller.Distiller(teacher, student, losses, weights, self.student_loss_weight)

    def make_losses(
        self, labels: Any = None, statistics: Any = None
    ) -> tuple[list[Any], list[float]]:
        """Returns the loss objects and their weights.

        Args:
            labels: Those of the training images, for the loss that wants them.
            statistics: The mean and the deviation of each of the teacher's logits, for the loss
                that wants them.

        Raises:
            ValueError: If a name is unknown or an argument is out of range.
        """
        made = []
        for name, arguments, _ in self.losses:
            check_choice("loss", name, loss_types.__all__)
            check_dictionaries({f"arguments of {name}": arguments})
            if name == _BY_EXAMPLE:
                arguments = {"examples": 2 if labels is None else labels, **arguments}
            if _wants_statistics(name, arguments):
                mean, std = statistics or (0.0, 1.0)
                arguments = {**arguments, "mean": mean, "std": std}
            try:
                made.append(getattr(loss_types, name)(**arguments))
            except TypeError as error:
                raise ValueError(
                    f"Expected arguments that {name} takes. Received: {arguments!r}: "
                    f"{first_line(error)}"
                ) from error
        return made, [weight for _, _, weight in self.losses]

    def _statistics(self, context: "StageContext") -> Any:
        """The mean and deviation of the teacher's logits for the images, if a loss wants them."""
        if not any(_wants_statistics(name, arguments) for name, arguments, _ in self.losses):
            return None
        images = context.data.train.arrays()[0]
        logits = keep_teacher_outputs.predict(self._teacher(context), images)
        return loss_types.logit_statistics(logits)

    def _batches(self, context: "StageContext") -> Callable[[int], Any]:
        """The batches, with the teacher's outputs where it predicts once for all epochs."""
        more: dict[str, Any] = {"indices": True} if self._needs_indices else {}
        if self.predicts_once:
            images = context.data.train.arrays()[0]
            more["teacher_outputs"] = keep_teacher_outputs.predict(
                self._teacher(context), images, self._tapped_layers
            )
        return build_and_fit.batches(self.training, context, **more)

    def _recorded_batches(
        self, whole: "StageContext", context: "StageContext"
    ) -> Callable[[int], Any]:
        """The batches with what was recorded of the teacher for augmented views of the images.

        Args:
            whole: The context with all training images.
            context: That with the samples that are trained on.
        """
        variant = ""
        if self.transfer is not None and self.transfer.changes_images:
            images = dataclasses.replace(self.transfer, labelled=None)  # Labels are not recorded.
            variant = images.digest
            whole = dataclasses.replace(whole, data=images.of(whole.data, whole.data_dir))
        split = keep_teacher_outputs.recorded_split(
            whole,
            self.training,
            self.views or 1,
            self.teacher_precision,
            self._tapped_layers,
            variant=variant,
            average=self.average,
        ).with_labels_of(context.data.train)
        more: dict[str, Any] = {"indices": True} if self._needs_indices else {}
        return lambda epoch: split.batches(
            self.training.batch_size, True, context.seed, initial_epoch=epoch, **more
        )

    @property
    def _tapped_layers(self) -> list[str]:
        """The layers of the teacher that losses tap."""
        losses, _ = self.make_losses()
        return list(dict.fromkeys(path for loss in losses for path in loss.teacher_layers))

    @property
    def _needs_indices(self) -> bool:
        """Whether a loss keeps something for each example."""
        return any(name == _BY_EXAMPLE for name, _, _ in self.losses)

    def _labels(self, data: "Dataset") -> Any:
        """The labels of the training images, if a loss wants them."""
        if not self._needs_indices:
            return None
        labels, indices = data.train.labels, data.train.indices
        return labels if indices is None else labels[indices]


def _wants_statistics(name: str, arguments: Mapping[str, Any]) -> bool:
    """Whether a loss is to be given the statistics of the teacher's logits."""
    return name == "LogitRegression" and arguments.get("std") == OF_TEACHER
