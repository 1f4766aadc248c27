"""What arrays of outputs and labels say: classes, binary labels, probabilities of them."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike

from kdzoo.graph.exportable import shape_model, student_of
from kdzoo.graph.final_activation import final_activation, final_makers
from kdzoo.graph.keras_internals import functional_of
from kdzoo.graph.outputs import OutputType, is_one_column, losses_by_output
from kdzoo.utils import check_numeric_array

# How far probabilities, rounded to few bits, lie beyond [0, 1].
_ROUNDING = 1e-3
# How far the sums of a softmax lie from 1: in half precision, and for each column of an int8 file,
# whose values are multiples of 1/256.
_OFF_IN_HALF, _OFF_BY_COLUMN = 2e-3, 1 / 512
_MOST_OFF = 0.5  # However many columns: logits near 0 have a sum near 0.
# Rows of classes, or values, that are enough to tell probabilities from logits.
_ENOUGH_ROWS, ENOUGH_VALUES = 4, 32
# The nearest to 0 and to 1 that a probability is taken to be: what float32 tells from them.
_SMALLEST, _LARGEST = 1.2e-38, 1 - 6e-8


def ends_in_probabilities(model: Any) -> list[bool]:
    """Returns for each output of a model whether a final softmax or sigmoid can be seen.

    Args:
        model: A `keras.Model`; of something else, and of what is no graph, little is known.

    Returns:
        A list of booleans in the order of `keras.tree.flatten`, or one boolean in a list.
    """
    if not isinstance(model, keras.Model):
        return [False]
    graph = shape_model(model)
    graph = None if graph is None else functional_of(graph)
    if graph is None:
        return [final_activation(student_of(model) or model) is not None]
    return [maker is not None for maker in final_makers(graph)]


def told_from_logits(model: Any, outputs: Any = None) -> list[bool | None]:
    """Returns for each output what a model says of its scale: whether it gives logits.

    Args:
        model: A `keras.Model`; of something else at most its loss is known.
        outputs: What the model gave, in its structure, or None.

    Returns:
        A list with False for the probabilities of a final activation, True where the loss that the
        model was compiled with takes logits, else None.
    """
    ends = ends_in_probabilities(model)
    losses = [getattr(model, "loss", None)]
    if isinstance(model, keras.Model):
        losses = losses_by_output(student_of(model) or model, losses[0], outputs)
    ends = ends if len(ends) == len(losses) else [False] * len(losses)
    return [
        False if is_end else getattr(loss, "from_logits", False) is True or _is_hinge(loss) or None
        for is_end, loss in zip(ends, losses, strict=True)
    ]


def _is_hinge(loss):
    """Whether a loss of Keras is a hinge, which takes scores with the threshold 0."""
    name = loss if isinstance(loss, str) else getattr(getattr(loss, "fn", loss), "__name__", "")
    return name.lower().endswith("hinge")


def what_is_not_finite(outputs: np.ndarray, masks_classes: bool = True) -> str | None:
    """Returns what keeps outputs from being measured: `"NaN"`, `"infinite"`, or None.

    Args:
        outputs: Array of any shape.
        masks_classes: Whether a logit may be -inf, as of a class that is masked, beside a finite
            one in its row.
    """
    if np.all(np.isfinite(outputs)):
        return None
    if np.any(np.isnan(outputs)):
        return "NaN"
    is_masked = (
        masks_classes and not is_one_column(outputs.shape) and not np.isposinf(outputs).any()
    )
    return None if is_masked and np.isfinite(outputs).any(axis=-1).all() else "infinite"


def may_be_probabilities(outputs: Any, output_type: OutputType, xp: Any = np) -> Any:
    """Whether outputs can be probabilities: all in [0, 1], and of classes with a sum of 1.

    Args:
        outputs: Array or tensor of floats, `(..., classes)` of classes, else of any shape.
        output_type: What they mean; several columns that are not `"classes"` have no sum.
        xp: The module that computes it: NumPy, or `keras.ops` for tensors of a traced step.

    Returns:
        A boolean, a scalar of `xp`.

    Example:

    >>> outputs = np.array([[0.25, 0.75]])
    >>> bool(may_be_probabilities(outputs, "classes"))
    True
    >>> bool(may_be_probabilities(2 * outputs, "binary"))
    False
    """
    is_within = xp.logical_and(outputs >= -_ROUNDING, outputs <= 1 + _ROUNDING)
    is_within = xp.all(is_within)
    if output_type != "classes":
        return is_within
    off = min(_OFF_IN_HALF + outputs.shape[-1] * _OFF_BY_COLUMN, _MOST_OFF)
    sums_to_1 = xp.all(xp.abs(xp.sum(outputs, axis=-1) - 1) < off)
    return xp.logical_and(is_within, sums_to_1)


def look_like_probabilities(outputs: Any, output_type: OutputType, xp: Any = np) -> Any:
    """Whether outputs are so many that can be probabilities that logits would hardly be so.

    Args:
        outputs: Array or tensor of floats, `(..., classes)` of classes, else of any shape.
        output_type: What they mean. Binary outputs must lie on both sides of a half; one
            column of classes is never found to be probabilities, and neither are numbers.
        xp: The module that computes it: NumPy, or `keras.ops` for tensors of a traced step.

    Returns:
        A boolean, a scalar of `xp`.
    """
    shape = xp.shape(outputs)
    is_row = output_type == "classes" and len(shape) > 1 and outputs.shape[-1] not in (None, 1)
    if output_type != "binary" and not is_row:
        return False
    values = xp.reshape(outputs, (-1,))
    count = xp.shape(values)[0]
    is_enough = count >= ENOUGH_VALUES
    if is_row:
        is_enough = xp.logical_or(is_enough, count >= _ENOUGH_ROWS * outputs.shape[-1])
    else:
        is_spread = xp.logical_and(xp.any(values < 0.5), xp.any(values > 0.5))
        is_enough = xp.logical_and(is_enough, is_spread)
    return xp.logical_and(is_enough, may_be_probabilities(outputs, output_type, xp))


def is_positive(outputs: np.ndarray, from_logits: bool) -> np.ndarray:
    """Returns where binary outputs are positive: above 0 of logits, above 0.5 of probabilities.

    Args:
        outputs: Array of any shape.
        from_logits: Whether they are logits.

    Returns:
        Boolean array of the same shape.
    """
    return outputs > (0.0 if from_logits else 0.5)


def class_indices(labels: ArrayLike, shape: Sequence[int]) -> np.ndarray:
    """Returns labels of exclusive classes as class indices, checked against the outputs' shape.

    Args:
        labels: Integers `(samples, ...)` or `(samples, ..., 1)`, or one-hot
            `(samples, ..., classes)`.
        shape: `(samples, ..., classes)` of the outputs, of two classes or more.

    Returns:
        Integer array `(samples, ...)`.

    Raises:
        ValueError: If shapes do not fit, a label is out of range, or a row is not one-hot.
    """
    labels = check_numeric_array("labels", labels)
    shape, positions, classes = tuple(shape), tuple(shape[:-1]), shape[-1]
    if labels.shape == shape:
        return _of_one_hot(labels)
    if labels.shape not in (positions, (*positions, 1)):
        raise ValueError(
            f"Expected labels of shape {positions} or {shape} for outputs of shape {shape}. "
            f"Received: shape={labels.shape}."
        )
    labels = labels.reshape(positions)
    fits = (labels >= 0) & (labels < classes) & (labels == np.floor(labels))
    if not np.all(fits):
        raise ValueError(
            f"Expected integer labels from 0 to {classes - 1}, as the model has {classes} outputs. "
            f"Received: label={labels[~fits][0]}: renumber the labels, or build the model with "
            "more classes."
        )
    return labels.astype("int64")


def is_one_hot(labels: np.ndarray) -> bool:
    """Whether each row of labels `(..., classes)` has a single 1 and else zeros."""
    return bool(np.all((labels == 0) | (labels == 1)) and np.all(labels.sum(axis=-1) == 1))


def _of_one_hot(labels):
    if not is_one_hot(labels):
        rows = labels.reshape(-1, labels.shape[-1])
        wrong = next(row for row in rows if not is_one_hot(row))
        raise ValueError(
            "Expected rows of labels with a single 1, for exclusive classes. Received: "
            f"{np.array2string(wrong, threshold=8, precision=3)}: pass output_type='binary' if "
            "each column is a binary label of its own, and labels.argmax(axis=-1) for soft labels."
        )
    return np.argmax(labels, axis=-1)


def binary_labels(labels: ArrayLike, shape: Sequence[int]) -> np.ndarray:
    """Returns binary labels as booleans in the shape of the outputs.

    Args:
        labels: Zeros and ones in the shape of the outputs; a last axis of 1 may be missing on
            either side.
        shape: `(samples,)` or `(samples, ..., columns)` of the outputs.

    Returns:
        Boolean array.

    Raises:
        ValueError: If shapes do not fit, or a label is neither 0 nor 1.
    """
    labels, shape = check_numeric_array("labels", labels), tuple(shape)
    if _without_last_axis(labels.shape) != _without_last_axis(shape):
        raise ValueError(
            f"Expected labels of shape {shape}, a binary label for each output. "
            f"Received: shape={labels.shape}."
        )
    fits = (labels == 0) | (labels == 1)
    if not np.all(fits):
        raise ValueError(
            "Expected labels from 0 to 1, integers, for binary outputs. "
            f"Received: label={labels[~fits][0]}: round soft labels, build the model with more "
            "classes, or use `model.evaluate` with keras.metrics.MeanAbsoluteError for numbers."
        )
    return (labels == 1).reshape(shape)


def _without_last_axis(shape):
    """A shape without its last axis of 1."""
    return tuple(shape[:-1]) if len(shape) > 1 and shape[-1] == 1 else tuple(shape)


def log_probabilities(
    outputs: np.ndarray,
    temperature: float = 1.0,
    *,
    from_logits: bool = True,
    is_binary: bool | None = None,
) -> np.ndarray:
    """Returns log-softmax of logits / temperature in float64; a binary label becomes two classes.

    Args:
        outputs: Array `(..., classes)` of logits or probabilities; with `is_binary`, of any shape.
        temperature: Above 0.
        from_logits: Whether they are logits; the logarithms of probabilities are logits too.
        is_binary: Whether each value is a binary label; None where that is what one column says.

    Returns:
        Array `(..., classes)`, of at least two classes; with `is_binary` `(..., columns, 2)`.
    """
    logits = outputs.astype("float64")
    if is_binary is None and logits.shape[-1] == 1:
        logits, is_binary = logits[..., 0], True
    if not from_logits:
        likely = np.clip(logits, _SMALLEST, _LARGEST if is_binary else 1.0)
        logits = np.log(likely) - (np.log1p(-likely) if is_binary else 0.0)
    if is_binary:
        logits = np.stack([np.zeros_like(logits), logits], axis=-1)
    scaled = logits / temperature
    scaled -= scaled.max(axis=-1, keepdims=True)
    return scaled - np.log(np.exp(scaled).sum(axis=-1, keepdims=True))
