"""What the outputs and layers that a distillation loss takes are told to mean."""

from collections.abc import Sequence
from typing import Any

import keras

from kdzoo.distillation.batch_targets import order_of_student
from kdzoo.graph.final_activation import operations_before_outputs
from kdzoo.graph.outputs import OutputType, told_output_types
from kdzoo.graph.taps import find_layer
from kdzoo.losses.base import DistillationLoss
from kdzoo.losses.logit_regression import LogitRegression


def told_types(
    loss: DistillationLoss,
    teacher: keras.Model | None,
    student: keras.Model,
    compiled_loss: Any,
    outputs: Any,
    teacher_outputs: Any = None,
    names: Sequence[str] | None = None,
) -> list[OutputType | None]:
    """Returns what each output, or tapped layer, that a loss takes is told to mean.

    The loss on the labels of an output comes before the student's final activation, and that before
    what the teacher was compiled with or ends in. Of a tapped layer that ends in an output, what
    that means counts.

    Args:
        loss: The `DistillationLoss`.
        teacher: The teacher, or None.
        student: The student.
        compiled_loss: The loss on the labels, as `compile` takes it, or None.
        outputs: The student's outputs, in their structure.
        teacher_outputs: The teacher's outputs, in their structure; None if they are not known.
        names: The names of the student's outputs, if it has several.

    Returns:
        A list with an `OutputType`, or None, for each.
    """
    ours = told_output_types(student, loss=compiled_loss, outputs=outputs)
    theirs = [] if teacher is None else told_output_types(teacher, outputs=teacher_outputs)
    if loss.student_layer is not None:
        ours = [_type_of_layer(student, path, ours) for path in loss.student_layers]
    if loss.teacher_layer is not None:
        theirs = [
            None if teacher is None else _type_of_layer(teacher, path, theirs)
            for path in loss.teacher_layers
        ]
    elif teacher_outputs is not None and len(theirs) == len(keras.tree.flatten(teacher_outputs)):
        order = order_of_student(teacher_outputs, outputs, names)
        theirs = [theirs[index] for index in order]
    theirs = theirs if len(theirs) == len(ours) else [None] * len(ours)
    return [our or their for our, their in zip(ours, theirs, strict=True)]


def type_read(loss: DistillationLoss, told: OutputType | None) -> OutputType | None:
    """Returns what a loss takes an output for of which it reads logits; None if it reads none.

    Args:
        loss: The `DistillationLoss`.
        told: What the output is told to mean, or None.
    """
    said = getattr(loss, "output_type", None) or told
    takes_numbers = isinstance(loss, LogitRegression) and loss.target == "logits"
    if not loss.expects_logits or (takes_numbers and said == "numbers"):
        return None
    return "binary" if said == "binary" else "classes"


def _type_of_layer(model, path, types):
    """What the output of a model means that a layer, named by its path, ends in, or None."""
    layer = find_layer(model, path)
    ends = operations_before_outputs(model)
    if len(ends) != len(types):
        return None
    found = (known for end, known in zip(ends, types, strict=True) if any(o is layer for o in end))
    return next(found, None)
