"""Checks of what models give against the losses of a Distiller that read it."""

import warnings
from collections.abc import Sequence
from typing import Any

import keras

from kdzoo.distillation.batch_targets import order_of_student
from kdzoo.distillation.told_types import type_read
from kdzoo.graph.exportable import shape_model
from kdzoo.graph.final_activation import final_activation
from kdzoo.graph.keras_internals import functional_of
from kdzoo.graph.outputs import told_output_types, type_of_loss
from kdzoo.graph.predictions import ends_in_probabilities
from kdzoo.graph.taps import find_layer, tapped_shapes
from kdzoo.losses import DistillationLoss


def check_outputs(
    teacher: keras.Model | None,
    student: keras.Model,
    losses: Sequence[DistillationLoss],
    check_values: bool = True,
) -> None:
    """Raises if a loss cannot be computed on the outputs of the models.

    Args:
        teacher: The teacher, or None.
        student: The student.
        losses: The distillation losses.
        check_values: Whether probabilities are refused where a loss reads logits.
    """
    for loss in losses:
        for role, model, paths in (
            ("teacher", teacher, loss.teacher_layers),
            ("student", student, loss.student_layers),
        ):
            if model is None:
                continue
            for path in paths:
                find_layer(model, path)
            if check_values and not paths:
                _check_ends_in_logits(role, model, loss, (teacher, student))
        if teacher is not None and loss.expects_logits:
            shapes = tapped_shapes(shape_model(teacher), loss.teacher_layer)
            if shapes is not None and not loss.teacher_layers + loss.student_layers:
                shapes = _in_order_of_student(shapes, teacher, student)
            _check_same_classes(shapes, tapped_shapes(student, loss.student_layer))


def _check_ends_in_logits(role, model, loss, models):
    """Raises if outputs of a model that a loss reads as logits are seen to be probabilities."""
    ends = ends_in_probabilities(model)
    told = [told_output_types(other) for other in models if other is not None]
    numbers = [
        any(len(types) == len(ends) and types[index] == "numbers" for types in told)
        for index in range(len(ends))
    ]
    if any(
        is_end and type_read(loss, "numbers" if is_number else None)
        for is_end, is_number in zip(ends, numbers, strict=True)
    ):
        raise ValueError(
            f"Expected the {role} to give logits. Received: {model.name!r}, which ends in a "
            f"{final_activation(model)}; pass `kdzoo.as_logits({role})`, which strips it."
        )


def _in_order_of_student(shapes, teacher, student):
    """The shapes of the teacher's outputs in the order of the student's."""
    graphs = shape_model(teacher), shape_model(student)
    if None in graphs:
        return shapes
    theirs, ours = (functional_of(graph) for graph in graphs)
    order = order_of_student(theirs.output, ours.output, ours.output_names)
    return [shapes[index] for index in order]


def _check_same_classes(of_teacher, of_student):
    if of_teacher is None or of_student is None:
        return
    if [shape[-1] for shape in of_teacher] != [shape[-1] for shape in of_student]:
        raise ValueError(
            "Expected teacher and student to have the same classes. Received: teacher outputs "
            f"{of_teacher}, student outputs {of_student}; build the student with the teacher's "
            "number of classes."
        )


def warn_unless_on_logits(loss: Any, student: keras.Model) -> None:
    """Warns if a cross-entropy that expects probabilities is given to a student of logits."""
    if final_activation(student) is not None or shape_model(student) is None:
        return
    for part in keras.tree.flatten(loss):
        name = part if isinstance(part, str) else getattr(part, "name", "")
        expects_probabilities = isinstance(part, str) or not _from_logits(part)
        if "crossentropy" in str(name) and expects_probabilities:
            is_binary = type_of_loss(part) == "binary"
            example = "BinaryCrossentropy" if is_binary else "SparseCategoricalCrossentropy"
            warnings.warn(
                f"The loss {name!r} expects probabilities, but {student.name!r} gives logits: the "
                "value is not the cross-entropy. Pass the loss as an object with "
                f"`from_logits=True`, such as `keras.losses.{example}(from_logits=True)`.",
                stacklevel=3,
            )
            return


def _from_logits(loss):
    """Whether a Keras loss object was made with `from_logits=True`."""
    return getattr(loss, "get_config", dict)().get("from_logits", True)
