"""A student that learns from labels and a teacher at once."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kdzoo.experiments import loaded
from kdzoo.experiments.stage import Dependency, register
from kdzoo.experiments.stages.train import Train
from kdzoo.experiments.training import PRECISIONS
from kdzoo.utils import check_choice, check_positive_integer, shown

if TYPE_CHECKING:
    import keras

    from kdzoo.experiments.work import Work

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
            its weight). `ContrastiveRepresentation` is given the labels of the training images.
        student_loss_weight: Weight of the loss on labels, between 0 and 1; the distillation losses
            have the rest.
        teacher: The stage that teaches.
        teacher_weight: (first, last) weight of the first loss, which changes evenly over the
            epochs; None for the weight in `losses`.
        views: For how many augmented views of each image the teacher's outputs are recorded, which
            the student sees in turn; None for a teacher that predicts at every step.
        teacher_precision: The dtype policy that the teacher predicts in, at every step or when its
            outputs are recorded.
    """

    losses: Losses = _LOSSES
    student_loss_weight: float = 0.1
    teacher: Dependency = _TEACHER
    teacher_weight: tuple[float, float] | None = None
    views: int | None = None
    teacher_precision: str = "float32"

    def check(self) -> None:
        """Raises `ValueError` unless names are known and numbers in range."""
        super().check()
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
        loaded.fitting.check_teaching(self)

    def check_models(self, model: "keras.Model", sources: Mapping[str, Any]) -> None:
        """Raises `ValueError` unless the losses suit the teacher and the student."""
        loaded.fitting.distiller(sources["teacher"], model, self)

    def smoke(self) -> "Distill":
        """Returns the same stage, trained for one epoch, with one view."""
        views = self.views and 1
        return dataclasses.replace(self, training=self.training.smoke(), views=views)

    def fit(self, model: "keras.Model", work: "Work") -> dict[str, Any]:
        """Trains a fresh student in place and returns its history."""
        return loaded.fitting.distill(model, self, work)
