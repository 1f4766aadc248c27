"""Labels of exclusive classes, as losses that read them beside logits take them."""

from typing import Any

import numpy as np
from keras import ops

from kdzoo.losses.base import as_float32, is_symbolic, of_same_samples
from kdzoo.utils import shown
from kdzoo.utils.types import Tensor


def as_classes(labels: Any, logits: Tensor, why: str) -> tuple[Tensor, Tensor]:
    """Returns labels as integers, and which of them are classes.

    Args:
        labels: Integers `(batch,)` or `(batch, 1)`, or one-hot `(batch, classes)`.
        logits: Float32 tensor `(batch, classes)`.
        why: Why a sample has one class, for the error, such as `"DKD weights its true class"`.

    Returns:
        Int32 tensor `(batch,)`, and boolean tensor `(batch,)`.

    Raises:
        ValueError: If they are of another shape, or known not to be classes.
    """
    given, labels = labels, as_float32("labels", labels, least_rank=1)
    classes = logits.shape[-1]
    is_one_hot = len(labels.shape) == 2 and labels.shape[-1] == classes and classes > 1
    sizes = tuple(labels.shape)
    if len(logits.shape) != 2:
        raise ValueError(
            f"Expected logits (batch, classes), as {why}. Received: logits {tuple(logits.shape)} "
            "with a class for each position; use `SoftTargets`, which takes them."
        )
    is_batch = None in (sizes[0], logits.shape[0]) or sizes[0] == logits.shape[0]
    if not is_batch or not (is_one_hot or sizes[1:] in ((), (1,))):
        raise ValueError(
            "Expected logits (batch, classes) and labels (batch,), (batch, 1) or one-hot (batch, "
            f"classes). Received: logits {tuple(logits.shape)}, labels {sizes}"
        )
    labels = of_same_samples(logits, labels, "rows", ("logits", "labels"))
    if is_one_hot:
        is_class = ops.max(labels, axis=-1) > 0
        is_class = ops.logical_and(is_class, ops.all(ops.isfinite(labels), axis=-1))
        labels = ops.argmax(labels, axis=-1)
    else:
        labels = ops.reshape(labels, (-1,))
        is_class = ops.logical_and(labels >= 0, labels < classes)
        is_class = ops.logical_and(is_class, ops.floor(labels) == labels)
    if not is_symbolic(is_class) and not np.all(is_class):
        raise ValueError(
            f"Expected labels that are integers from 0 to {classes - 1}, or one-hot. Received: "
            f"labels={shown(given)}, with others among them"
        )
    return ops.cast(labels, "int32"), is_class
