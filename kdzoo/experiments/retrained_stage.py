"""What stages have in common that start from a trained model, change it and train it on."""

from collections.abc import Mapping

from kdzoo import losses
from kdzoo.distillation import argument_checks
from kdzoo.experiments.stage import Built, Dependency, Stage, check_dependency
from kdzoo.experiments.training_settings import FLOAT32, PRECISIONS, Training
from kdzoo.utils import check_choice, check_positive_integer, shown


class Retrained(Stage):
    """A stage that starts from a trained model and trains it on, perhaps with a teacher.

    The fields are those of the stage types, which say what they mean; a type that lacks one of
    those with a default is as if it had that.
    """

    start: Dependency
    training: Training
    teacher: Dependency | None = None
    temperature: float = 4.0
    student_loss_weight: float = 0.1
    views: int | None = None
    teacher_precision: str = FLOAT32

    @property
    def epochs(self) -> int:
        return self.training.epochs

    def built_from(self, sources: Mapping[str, Built]) -> Built:
        return sources["start"]

    def check(self) -> None:
        super().check()
        check_dependency("start", self.start)
        if self.teacher is not None:
            check_dependency("teacher", self.teacher)
        if not isinstance(self.training, Training):
            raise ValueError(f"Expected a Training. Received: training={shown(self.training)}")
        self.training.check()
        losses.SoftTargets(self.temperature)
        argument_checks.check_student_loss_weight(self.student_loss_weight)
        if self.views is not None:
            check_positive_integer("views", self.views)
        check_choice("teacher_precision", self.teacher_precision, PRECISIONS)
