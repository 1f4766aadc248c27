"""What the outputs and layers that a distillation loss takes are told to mean."""

from typing import Any

import keras

from kdzoo.graph.outputs import OutputType, operations_before_outputs, told_output_types
from kdzoo.graph.taps import find_layer
from kdzoo.losses.base import DistillationLoss


def told_types(
    loss: DistillationLoss,
    teacher: keras.Model | None,
    student: keras.Model,
    compiled_loss: Any,
    outputs: Any,
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

    Returns:
        A list with an `OutputType`, or None, for each.
    """
    ours = told_output_types(student, loss=compiled_loss, outputs=outputs)
    theirs = [] if teacher is None else told_output_types(teacher)
    if loss.student_layer is not None:
        ours = [_type_of_layer(student, path, ours) for path in loss.student_layers]
    if loss.teacher_layer is not None:
        theirs = [
            None if teacher is None else _type_of_layer(teacher, path, theirs)
            for path in loss.teacher_layers
        ]
    theirs = theirs if len(theirs) == len(ours) else [None] * len(ours)
    return [our or their for our, their in zip(ours, theirs, strict=True)]


def _type_of_layer(model, path, types):
    """What the output of a model means that a layer, named by its path, ends in, or None."""
    layer = find_layer(model, path)
    ends = operations_before_outputs(model)
    if len(ends) != len(types):
        return None
    found = (known for end, known in zip(ends, types, strict=True) if any(o is layer for o in end))
    return next(found, None)
