"""How a teacher's outputs for a sample lie in a record: its fields, their shapes and types."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np

from kdzoo.teacher_cache.teacher_predictor import LOGITS
from kdzoo.teacher_cache.top_k_logits import LARGEST, PLACES, REST, largest_logits

Field: TypeAlias = Sequence
"""(name, shape of one sample, type)."""


def record_type(fields: Sequence[Field]) -> np.dtype:
    """Returns the NumPy type of a record.

    Args:
        fields: What a record consists of.
    """
    return np.dtype([(name, dtype, tuple(shape)) for name, shape, dtype in fields])


def fields_of(outputs: Mapping[str, np.ndarray], top_k: int | None, dtype: str) -> list[Field]:
    """Returns what a record of some outputs consists of.

    Args:
        outputs: Name -> array (samples, ...), the logits among them.
        top_k: The number of the largest logits that are kept; None for all.
        dtype: The type in which outputs are kept.

    Raises:
        ValueError: If the logits are no matrix, or have no more classes than `top_k`.
    """
    if outputs[LOGITS].ndim != 2:
        raise ValueError(
            "Expected a teacher with logits of shape (batch, classes). Received: shape "
            f"{outputs[LOGITS].shape}"
        )
    classes = outputs[LOGITS].shape[-1]
    fields: list[Field] = [(LOGITS, (classes,), dtype)]
    if top_k is not None:
        if top_k >= classes:
            raise ValueError(
                f"Expected top_k below the number of classes, {classes}. Received: top_k={top_k}"
            )
        fields = [(LARGEST, (top_k,), dtype), (PLACES, (top_k,), "int32"), (REST, (1,), dtype)]
    layers = [(name, array.shape[1:], dtype) for name, array in outputs.items() if name != LOGITS]
    return fields + layers


def pack(
    outputs: Mapping[str, np.ndarray], fields: Sequence[Field], top_k: int | None
) -> np.ndarray:
    """Returns outputs as an array of records, one for each sample.

    Args:
        outputs: Name -> array (samples, ...), the logits among them.
        fields: What a record consists of.
        top_k: The number of the largest logits that are kept; None for all.

    Raises:
        ValueError: If an output is not finite in its type.
    """
    if top_k is not None:
        outputs = {**outputs, **largest_logits(outputs[LOGITS], top_k)}
    records = np.empty(len(outputs[LOGITS]), record_type(fields))
    for name, _, dtype in fields:
        with np.errstate(over="ignore"):
            records[name] = outputs[name]
        if not np.isfinite(records[name]).all():
            raise ValueError(
                f"Expected teacher outputs that {dtype} can hold. Received: "
                f"{np.abs(outputs[name]).max():.6g} in {name!r}; record in float32, if they are "
                "finite."
            )
    return records
