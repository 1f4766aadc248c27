"""Which images count as raw pixels, in [0, 255], and which models rescale them themselves."""

from typing import Any

import keras
import numpy as np

from kdzoo.graph.keras_internals import flatten_layers

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
