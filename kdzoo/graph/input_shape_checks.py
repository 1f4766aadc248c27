"""Whether arrays have the shapes that a model takes."""

from typing import Any

import keras
import numpy as np

from kdzoo.graph.exportable import shape_model
from kdzoo.utils import check_numeric_array, shown


def check_input_shapes(x: Any, model: Any, name: str = "x") -> None:
    """Raises unless arrays have the shapes that a model takes, as far as both are known.

    Args:
        x: Array, or a list or dictionary of arrays, batch first.
        model: A `keras.Model`. Of a subclassed one, or of something else, nothing is known.
        name: What the caller calls the arrays.

    Raises:
        ValueError: If they do not fit; the error says which shape is expected.
    """
    graph = shape_model(model)
    if graph is None:
        return
    inputs = graph.inputs
    if isinstance(x, dict):
        structure = None if isinstance(graph, keras.Sequential) else graph.input
        by_key = structure if isinstance(structure, dict) else {i.name: i for i in inputs}
        keys = [key for key, tensor in by_key.items() if is_array(tensor) and key in x]
        arrays, inputs = [x[key] for key in keys], [by_key[key] for key in keys]
    else:
        arrays = keras.tree.flatten(x) if isinstance(x, list | tuple) else [x]
        if len(arrays) != len(inputs):
            raise ValueError(
                f"Expected an array for each of the {len(inputs)} inputs of {model.name!r}. "
                f"Received: {len(arrays)} arrays as {name}"
            )
    for array, tensor in zip(arrays, inputs, strict=True):
        if array is not None:
            _check_shape(array, tensor, model, name)


def _check_shape(array, tensor, model, name):
    """Raises unless an array fits an input; Keras adds or drops a last axis of 1."""
    if not is_array(array):
        raise ValueError(f"Expected an array as {name}. Received: {name}={shown(array)}")
    expected, shape = tuple(tensor.shape[1:]), tuple(array.shape[1:])
    longer = max(expected, shape, key=len)
    differ_by_one = abs(len(expected) - len(shape)) == 1 and longer[-1] == 1
    rank_fits = bool(array.shape) and (len(expected) == len(shape) or differ_by_one)
    pairs = zip(expected, shape, strict=False)
    if not rank_fits or any(size is not None and size != given for size, given in pairs):
        sizes = ", ".join(["samples", *("any" if n is None else str(n) for n in expected)])
        raise ValueError(
            f"Expected {name} of shape ({sizes}), as {model.name!r} takes. Received: "
            f"{name} of shape {tuple(array.shape)}"
        )
    if isinstance(array, np.ndarray) and tensor.dtype != "string":
        check_numeric_array(name, array)


def is_array(value: Any) -> bool:
    """Returns whether a value is an array or a tensor, of any library.

    Args:
        value: Anything.
    """
    return getattr(value, "shape", None) is not None
