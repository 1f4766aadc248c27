"""What a step of a learner of several outputs reads, and what of it may be set again."""

import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras

from kdzoo.distillation import argument_checks
from kdzoo.distillation.jax_state import TeacherKept
from kdzoo.distillation.settings import Untracked
from kdzoo.distillation.several_outputs import SeveralOutputs
from kdzoo.graph.exportable import TrainsStudent
from kdzoo.graph.final_activation import final_activation
from kdzoo.losses import DistillationLoss, SoftTargets
from kdzoo.losses.base import check_weight
from kdzoo.utils import shown
from kdzoo.utils.adjustable_number import Adjustable, adjustables_of
from kdzoo.utils.field_checks import (
    check_fields,
    is_boolean,
    is_dictionary,
    is_finite_number,
    is_plain,
)

_FIELDS = {
    "student": is_dictionary,
    "student_loss_weight": is_finite_number,
    "output_weights": is_plain,
    "distillation_loss": is_dictionary,
    "has_teacher": is_boolean,
}
"""Name of a field of a configuration -> whether a value from a file fits it."""


class JointSettings(TrainsStudent, TeacherKept, SeveralOutputs):
    """A model with a student of several outputs, their weights, and a teacher or none.

    `JointLearner` says what the arguments are.
    """

    # Of a subclass's own configuration, as `_FIELDS`.
    _fields: Mapping[str, Callable[[Any], bool]] = types.MappingProxyType({})

    def __init__(
        self,
        student: keras.Model,
        shape_of: keras.Model,
        names: Sequence[str],
        teacher: keras.Model | None,
        student_loss_weight: float,
        distillation_loss: DistillationLoss | None,
        output_weights: Sequence[float] | None,
        name: str,
    ):
        if activation := final_activation(shape_of):
            raise ValueError(
                f"Expected a model that gives logits. Received: {student.name!r}, which ends in a "
                f"{activation}; pass it without."
            )
        # The student casts for itself; the policy here only decides on loss scaling.
        super().__init__(name=name, autocast=False, dtype=student.dtype_policy)
        self.student = student
        self._name_outputs(names, ("loss", "distillation_loss"))
        weight = argument_checks.check_student_loss_weight(student_loss_weight)
        self._student_weight = Adjustable(weight)
        weights = _check_output_weights(output_weights, len(names))
        self._output_weights = tuple(Adjustable(weight) for weight in weights)
        self._distillation_loss = _check_distillation_loss(distillation_loss)
        self._shape_of = Untracked(shape_of)
        self._lacks_teacher = False
        self.teacher = teacher
        self.built = True

    @property
    def teacher(self) -> keras.Model | None:
        """The teacher, or None where the last output teaches. Set it to train with another."""
        return self._teacher_reference.model

    @teacher.setter
    def teacher(self, teacher: keras.Model | None) -> None:
        _check_teacher(teacher, self.student, self._shape_of.model)
        self._teacher_reference = Untracked(teacher)
        self._lacks_teacher = False
        self._compile_anew()

    @property
    def student_loss_weight(self) -> float:
        """Between 0 (the teacher only) and 1 (labels only). Set it to train with another one."""
        return self._student_weight.value

    @student_loss_weight.setter
    def student_loss_weight(self, weight: float) -> None:
        before = self._uses_teacher
        self._student_weight.set(argument_checks.check_student_loss_weight(weight))
        if self._uses_teacher != before:
            self._compile_anew()

    @property
    def output_weights(self) -> list[float]:
        """A weight of at least 0 for each output. Set it to train with others."""
        return [weight.value for weight in self._output_weights]

    @output_weights.setter
    def output_weights(self, given: Sequence[float] | None) -> None:
        weights = _check_output_weights(given, len(self._output_weights))
        for adjustable, weight in zip(self._output_weights, weights, strict=True):
            adjustable.set(weight)

    @property
    def distillation_loss(self) -> DistillationLoss:
        """The loss of logits, whose temperature may be set."""
        return self._distillation_loss

    @property
    def names_of_outputs(self) -> list[str]:
        """The names of the outputs in the logs."""
        return list(self._names)

    @property
    def _uses_teacher(self) -> bool:
        return self.student_loss_weight < 1

    def _adjustables(self) -> list[Adjustable]:
        of_loss = adjustables_of(self._distillation_loss)
        return [self._student_weight, *self._output_weights, *of_loss]

    def get_config(self) -> dict[str, Any]:
        return {
            "student": keras.saving.serialize_keras_object(self.student),
            "student_loss_weight": self.student_loss_weight,
            "output_weights": self.output_weights,
            "distillation_loss": keras.saving.serialize_keras_object(self._distillation_loss),
            "has_teacher": self._lacks_teacher or self.teacher is not None,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "JointSettings":
        if "_fields" in vars(cls):  # A user's own subclass may have arguments of its own.
            fields = {**_FIELDS, **cls._fields}
            check_fields(cls.__name__, config, fields, optional=fields.keys() - {"student"})
        config = dict(config)
        for part in {"student", "distillation_loss"} & config.keys():
            config[part] = keras.saving.deserialize_keras_object(config[part])
        had_teacher = config.pop("has_teacher", False)
        weights = config.pop("output_weights", None)
        learner = cls(**config)
        learner.output_weights = weights
        learner._lacks_teacher = had_teacher
        return learner


def _check_teacher(teacher, student, shape_of):
    """Raises unless a teacher can teach the outputs: its inputs, classes and logits."""
    if teacher is None:
        return
    argument_checks.check_teacher(teacher, student, None)
    outputs = getattr(teacher, "outputs", None)
    classes = shape_of.outputs[-1].shape[-1]
    if outputs and (len(outputs) != 1 or outputs[0].shape[-1] != classes):
        raise ValueError(
            f"Expected a teacher of one output of {classes} classes. Received: {teacher.name!r} "
            f"with {[tuple(tensor.shape) for tensor in outputs]}"
        )
    if activation := final_activation(teacher):
        raise ValueError(
            f"Expected a teacher that gives logits. Received: {teacher.name!r}, which ends in a "
            f"{activation}; pass `kdzoo.as_logits(teacher)`."
        )


def _check_distillation_loss(given):
    """The loss of logits, or raises."""
    loss = argument_checks.as_one_loss(SoftTargets(3.0) if given is None else given)
    if loss.teacher_layers or loss.student_layers:
        raise ValueError(
            "Expected a distillation loss of logits. Received: "
            f"{loss.name!r}, which taps {[*loss.teacher_layers, *loss.student_layers]}"
        )
    return loss


def _check_output_weights(given, count):
    """The weights of the outputs as a list of floats."""
    if given is None:
        return [1.0] * count
    if not isinstance(given, list | tuple) or len(given) != count:
        raise ValueError(
            f"Expected a weight for each of {count} outputs. Received: weights={shown(given)}"
        )
    weights = [check_weight("weights", weight) for weight in given]
    if not any(weights):
        raise ValueError(f"Expected an output that counts. Received: weights={shown(given)}")
    return weights
