"""By what a teacher and a data set are known again: their hashes, and a teacher's first logits."""

import hashlib
from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike

from kdzoo.data.split import Split
from kdzoo.graph.keras_internals import flatten_layers


def fingerprint_of_model(model: keras.Model, dtype: Any = None) -> str:
    """Returns the SHA-256 of a model's weights in their order, in hexadecimal.

    Args:
        model: The `keras.Model`.
        dtype: What its floating-point weights are rounded to first; None for as they are.
    """
    found = hashlib.sha256()
    for weight in model.get_weights():
        if dtype is not None and weight.dtype.kind == "f":
            with np.errstate(over="ignore"):
                weight = weight.astype(dtype)
        found.update(repr((weight.shape, str(weight.dtype))).encode())
        found.update(np.ascontiguousarray(weight).tobytes())
    return found.hexdigest()


def fingerprint_of_data(split: Split) -> str:
    """Returns the SHA-256 of a split's images and labels in their order, in hexadecimal."""
    found = hashlib.sha256()
    for start in range(0, len(split), 1000):
        images, labels = split.examples(np.arange(start, min(start + 1000, len(split))))
        found.update(repr((images.shape, str(images.dtype), split.scale)).encode())
        found.update(np.ascontiguousarray(images).tobytes())
        found.update(np.ascontiguousarray(labels, "int32").tobytes())
    return found.hexdigest()


def precision_of_model(model: keras.Model) -> list[str]:
    """Returns the types that the layers of a model compute in, e.g. `["bfloat16", "float32"]`."""
    return sorted(
        {
            layer.compute_dtype
            for layer in flatten_layers(model)
            if not flatten_layers(layer, include_self=False, recursive=False)
        }
    )


def is_alike(probe: ArrayLike, other: ArrayLike) -> bool:
    """Returns whether two probes are of one teacher: equal up to the roundings of half precision.

    Args:
        probe: Logits of some samples, (samples, classes).
        other: Logits of the samples, of what may be another teacher.
    """
    probe, other = np.asarray(probe, "float64"), np.asarray(other, "float64")
    if probe.shape != other.shape:
        return False
    return bool(np.abs(probe - other).max(initial=0) <= 0.02 * np.abs(probe).max(initial=0))
