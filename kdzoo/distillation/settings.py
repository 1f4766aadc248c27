"""What a step of a `Distiller` reads, and what of it may change while the distiller is in use."""

from collections.abc import Callable, Sequence
from typing import Any

import keras

from kdzoo.distillation import argument_checks, output_checks
from kdzoo.distillation.jax_state import TeacherKept
from kdzoo.graph import taps
from kdzoo.graph.exportable import TrainsStudent
from kdzoo.graph.keras_internals import compile_loss
from kdzoo.losses.base import DistillationLoss
from kdzoo.utils.adjustable_number import Adjustable, adjustables_of


class DistillationSettings(TrainsStudent, TeacherKept):
    """A model with a student, and with a teacher and weights of losses that can be set again.

    `Distiller` is the class to use; it sets the attributes below.
    """

    student: keras.Model
    distillation_losses: list[DistillationLoss]
    teacher_transform: Callable[[Any], Any] | None  # From the student's inputs to the teacher's.
    fuse_batch_norm: bool
    check_values: bool
    _had_transform: bool  # Whether there was a transform when the distiller was saved.
    _student_weight: Adjustable
    _distillation_weights: tuple[Adjustable, ...]
    _mixes_both: bool  # Whether both parts are computed, whatever the student's weight is.
    _teacher_taps: list[str]  # Paths of the layers that the losses tap.
    _student_taps: list[str]
    _loss_trackers: dict[str, keras.metrics.Mean]

    @property
    def teacher(self) -> keras.Model | None:
        """The model whose outputs the student learns, or `None`. Set it to train with another."""
        return self._teacher_reference.model

    @teacher.setter
    def teacher(self, teacher: keras.Model | None) -> None:
        if teacher is not None and self._had_transform and self.teacher_transform is None:
            raise ValueError(
                "Expected the function that the teacher's inputs went through before the distiller "
                "was saved. Received: none; set `distiller.teacher_transform` first."
            )
        argument_checks.check_teacher(teacher, self.student, self.teacher_transform)
        output_checks.check_outputs(
            teacher, self.student, self.distillation_losses, self.check_values
        )
        self._teacher_reference = Untracked(teacher)
        self._teacher_taps = tapped_paths(self.distillation_losses, "teacher")
        taps.build_losses(self.distillation_losses, teacher, self.student)
        self._compile_anew()

    @property
    def student_loss_weight(self) -> float:
        """Between 0 (the teacher only) and 1 (labels only). Set it to train with another one."""
        return self._student_weight.value

    @student_loss_weight.setter
    def student_loss_weight(self, weight: float) -> None:
        parts = self._uses_labels, self._uses_teacher
        weight = argument_checks.check_student_loss_weight(weight)
        if self.compiled:
            argument_checks.check_loss_is_given(weight, compile_loss(self))
        self._student_weight.set(weight)
        if (self._uses_labels, self._uses_teacher) != parts:
            self._compile_anew()

    @property
    def distillation_loss_weights(self) -> tuple[float, ...]:
        """A weight for each loss, a tuple. Set it to train with others."""
        return tuple(weight.value for weight in self._distillation_weights)

    @distillation_loss_weights.setter
    def distillation_loss_weights(self, weights: float | Sequence[float] | None) -> None:
        weights = argument_checks.check_loss_weights(weights, self.distillation_losses)
        for adjustable, weight in zip(self._distillation_weights, weights, strict=True):
            adjustable.set(weight)

    def mix_both(self) -> None:
        """Makes the training step compute both parts, whatever `student_loss_weight` is.

        At 0 and 1 a step leaves out the part whose weight is 0. A callback that changes the weight
        to or from these values calls this before training starts, so that the step need not be
        compiled again.
        """
        changes = not (self._uses_labels and self._uses_teacher)
        self._mixes_both = True
        if changes:
            self._compile_anew()

    @property
    def _uses_labels(self) -> bool:
        return self._mixes_both or self.student_loss_weight > 0

    @property
    def _uses_teacher(self) -> bool:
        return self._mixes_both or self.student_loss_weight < 1

    def _adjustables(self) -> list[Adjustable]:
        """The numbers that may change between steps: the weights, and those of the losses."""
        of_losses = [value for loss in self.distillation_losses for value in adjustables_of(loss)]
        return [self._student_weight, *self._distillation_weights, *of_losses]


def tapped_paths(losses: Sequence[DistillationLoss], side: str) -> list[str]:
    """Returns the paths of the layers that losses tap, each path once.

    Args:
        losses: The distillation losses.
        side: `"teacher"` or `"student"`.
    """
    return list(dict.fromkeys(path for loss in losses for path in getattr(loss, f"{side}_layers")))


class Untracked:
    """Holds a model out of Keras's sight: neither trained, nor counted, nor saved."""

    def __init__(self, model: keras.Model | None):
        self.model = model
