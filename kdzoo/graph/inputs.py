"""What a model takes: the shapes of its inputs, and whether raw pixels are among it."""

from typing import Any

import keras
import numpy as np

from kdzoo.graph.exportable import shape_model
from kdzoo.graph.keras_internals import flatten_layers
from kdzoo.utils import check_numeric_array

# Layers, and arithmetic inside a graph, by which a model may rescale its inputs.
_RESCALING = (
    "Rescaling",
    "Normalization",
    "Lambda",
    "TrueDivide",
    "Divide",
    "Multiply",
    "Subtract",
)


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


def looks_like_pixels(array: np.ndarray) -> bool:
    """Returns whether an array looks like images in [0, 255] where [0, 1] is expected.

    Normalized images reach about 3, and raw pixels of any real batch pass 32.

    Args:
        array: An array of numbers.

    Returns:
        True for an array of rank 4 with no negative value and a largest value in (32, 255].
    """
    return bool(array.ndim == 4 and array.size and array.min() >= 0 and 32 < array.max() <= 255)


def rescales_inputs(model: Any) -> bool:
    """Returns whether a model may bring raw pixels to its own range.

    Args:
        model: A `keras.Model`; of something else nothing is known.

    Returns:
        True if it has a layer that rescales or arithmetic that may, or begins with a batch
        normalization.
    """
    layers = flatten_layers(model) if isinstance(model, keras.layers.Layer) else []
    layers = [layer for layer in layers if not isinstance(layer, keras.layers.InputLayer)]
    steps = [step for layer in layers for step in getattr(layer, "operations", [layer])]
    first = next((layer for layer in layers if not hasattr(layer, "layers")), None)
    return any(type(step).__name__ in _RESCALING for step in steps) or isinstance(
        first, keras.layers.BatchNormalization
    )
