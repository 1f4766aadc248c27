"""How the losses on a batch become one number."""

import inspect
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from kdzoo.distillation.batch_targets import Targets
from kdzoo.graph.outputs import OutputType
from kdzoo.losses.base import DistillationLoss, mean_over_positions
from kdzoo.utils.types import Tensor


class _MeanOfSamples(keras.losses.Loss):
    """Keras's own weighting and averaging of losses, without positions masked in `y_pred`."""

    def call(self, y_true, y_pred):
        return y_true


_mean_of_samples = _MeanOfSamples(name="mean_of_samples", dtype="float32")


def reduce_loss(
    loss: DistillationLoss,
    teacher: Any,
    student: Any,
    targets: Targets,
    names: Sequence[str] | None = None,
    types: Sequence[OutputType | None] = (),
) -> Tensor:
    """Returns the mean of one distillation loss over the batch, summed over the outputs.

    Args:
        loss: The `DistillationLoss`.
        teacher: The outputs of the teacher that the loss takes: a tensor, or a structure of tensors
            for several outputs or layers.
        student: The outputs of the student that the loss takes, in the same structure.
        targets: The `Targets` of the batch. Weights, for each output or for all, count as in
            Keras: the loss is the weighted sum over the number of samples, or of positions where
            each position has a weight. What has the weight 0 costs nothing, even if its value is
            NaN. Positions that the student's mask leaves out, such as padding, do not count.
        names: The names of the student's outputs, by which labels and weights may be given.
        types: What each of the outputs is told to mean, or None; nothing where nothing is told.

    Returns:
        A float32 scalar.

    Raises:
        ValueError: If the loss takes indices and the data carry none, or there are weights for
            each position and the loss has one value for each sample.
    """
    label, sample_weight = targets.label, targets.sample_weight
    more: dict[str, Any] = _indices(loss, targets) if loss.takes_indices else {}
    flatten = keras.tree.flatten
    if loss.takes_structures or not keras.tree.is_nested(student):
        rows = [(teacher, student, label, _one_weight(sample_weight))]
        known: list[Any] = [list(types)] if loss.takes_structures else list(types)
    else:
        students = flatten(student)
        labels, weights = (flatten(_in_order(part, names)) for part in (label, sample_weight))
        labels = labels if len(labels) == len(students) else [None] * len(students)
        weights = weights if len(weights) == len(students) else weights[:1] * len(students)
        rows = list(zip(flatten(teacher), students, labels, weights, strict=True))
        known = list(types)
    total, known = 0.0, known if len(known) == len(rows) else [None] * len(rows)
    asks_type = "output_type" in inspect.signature(loss.call).parameters
    for row, output_type in zip(rows, known, strict=True):
        teacher_part, student_part, labels_part, weight = row
        more |= {"output_type": output_type} if asks_type else {}
        weighted = _without_slope_at_0(student_part, weight)
        values = loss(teacher_part, weighted, labels=labels_part, **more)
        carries_mask = values
        if _has_one_for_each_position(values, student_part):
            carries_mask = student_part
        elif weight is None or len(weight.shape) < len(values.shape):
            values = carries_mask = mean_over_positions(values)
        weight = _fitting(weight, values, loss)
        # A sample without a weight costs nothing, be its value NaN for want of a label.
        counted = values if weight is None else ops.where(weight == 0, 0.0, values)
        total = total + _mean_of_samples(counted, carries_mask, weight)
    return total


def _without_slope_at_0(student, weight):
    """Outputs of the student, of which those with the weight 0 get no gradient, not even NaN."""
    if weight is None:
        return student

    def selected(tensor):
        sizes = zip(weight.shape, tensor.shape, strict=False)
        fits = len(weight.shape) <= len(tensor.shape) and all(
            size in (1, None) or size == other for size, other in sizes
        )
        if not fits:
            return tensor
        more = len(tensor.shape) - len(weight.shape)
        weights = ops.reshape(weight, (*ops.shape(weight), *(1,) * more))
        return ops.where(weights == 0, ops.stop_gradient(tensor), tensor)

    return keras.tree.map_structure(selected, student)


def _has_one_for_each_position(values, student):
    """Whether a loss has a value for each position of a sequence (batch, positions, classes)."""
    if keras.tree.is_nested(student):
        return False
    return len(values.shape) == 2 and len(student.shape) == 3


def _in_order(parts, names):
    """Parts that are given by output name as a list in the order of the outputs; others as is."""
    if isinstance(parts, dict) and names and set(parts) <= set(names):
        return [parts.get(name) for name in names]
    return parts


def _fitting(weight, values, loss):
    """The weights in the shape of the values."""
    if weight is None:
        return None
    weight = ops.cast(weight, "float32")
    while len(weight.shape) > len(values.shape) and weight.shape[-1] == 1:
        weight = ops.squeeze(weight, -1)
    while len(weight.shape) < len(values.shape):
        weight = ops.expand_dims(weight, -1)
    if len(weight.shape) > len(values.shape):
        raise ValueError(
            f"Expected one weight for each sample, as {loss.name!r} has one value for each. "
            f"Received: sample_weight of shape {tuple(weight.shape)}; average it over positions."
        )
    return weight


def _indices(loss, targets):
    """The further argument of a loss that takes indices, a dictionary."""
    if targets.indices is None:
        raise ValueError(
            f"Expected the positions of the examples, which {loss.name!r} needs. Received: data "
            "without them; take `split.batches(..., indices=True)`, or pass "
            '`(x, {"label": y, "index": positions})`.'
        )
    return {"indices": targets.indices}


def _one_weight(sample_weight):
    """One array of weights from weights that may be given for each output."""
    given = [weight for weight in keras.tree.flatten(sample_weight) if weight is not None]
    if len(given) < 2:
        return given[0] if given else None
    return sum(mean_over_positions(ops.cast(weight, "float32")) for weight in given) / len(given)
