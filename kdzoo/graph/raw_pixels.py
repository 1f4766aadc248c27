"""Which images count as raw pixels, in [0, 255], and which models rescale them themselves."""

import warnings
from typing import Any

import keras
import numpy as np

from kdzoo.graph.exportable import exportable, shape_model
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
# Layers after which the range of a model's inputs no longer counts.
_NORMALIZING = (
    keras.layers.BatchNormalization,
    keras.layers.LayerNormalization,
    keras.layers.GroupNormalization,
    keras.layers.UnitNormalization,
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
        True if it has a layer that rescales or arithmetic that may, begins with a normalization,
        or computes in a way of its own: a subclassed model, or one with a layer that is not
        Keras's.
    """
    model = exportable(model).graph_model() or model
    layers = flatten_layers(model) if isinstance(model, keras.layers.Layer) else []
    layers = [layer for layer in layers if not isinstance(layer, keras.layers.InputLayer)]
    steps = [step for layer in layers for step in getattr(layer, "operations", [layer])]
    first = next((layer for layer in layers if not hasattr(layer, "layers")), None)
    return (
        any(type(step).__name__ in _RESCALING for step in steps)
        or isinstance(first, _NORMALIZING)
        or _is_frozen_scaling(first)
        or any(map(_computes_in_its_own_way, layers))
    )


def _is_frozen_scaling(layer):
    """Whether a layer is the 1x1 convolution that a `Rescaling` is where it is quantized."""
    is_depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
    return is_depthwise and layer.kernel_size == (1, 1) and not layer.trainable


def _computes_in_its_own_way(layer):
    """Whether a layer is neither Keras's nor a graph of layers."""
    if isinstance(layer, keras.Model):
        return shape_model(layer) is None
    return type(layer).__module__.partition(".")[0] not in ("keras", "kdzoo")


def warn_of_raw_pixels(images: np.ndarray, model: Any, silence: str, stacklevel: int = 2) -> bool:
    """Warns of images that look like raw pixels to a model that is not known to rescale them.

    Args:
        images: An array of inputs; of numbers that are no images nothing is said.
        model: The `keras.Model` that takes them.
        silence: What the caller passes so that nothing is said, such as `"check_images=False"`.
        stacklevel: As of `warnings.warn`, counted from the caller of this function.

    Returns:
        Whether it warned.

    Warns:
        UserWarning: If the images look like pixels and nothing in the model rescales them.
    """
    is_odd = looks_like_pixels(images) and not rescales_inputs(model)
    if is_odd:
        warnings.warn(
            f"Images up to {images.max():g} look like raw pixels, and nothing in "
            f"{getattr(model, 'name', 'the model')!r} rescales them. If it expects [0, 1], divide "
            "the images by 255 or begin the model with `keras.layers.Rescaling(1 / 255)`; if they "
            f"are right as they are, pass `{silence}`.",
            stacklevel=stacklevel + 1,
        )
    return is_odd
