"""Layers for sequences as the layers for images, of width 1, that compute the same."""

from typing import Any

import keras
import numpy as np

from kdzoo.graph.surgery import copy_of

LIFTED = (
    keras.layers.Conv1D,
    keras.layers.DepthwiseConv1D,
    keras.layers.SeparableConv1D,
    keras.layers.MaxPooling1D,
    keras.layers.AveragePooling1D,
    keras.layers.GlobalMaxPooling1D,
    keras.layers.GlobalAveragePooling1D,
    keras.layers.ZeroPadding1D,
    keras.layers.Cropping1D,
    keras.layers.UpSampling1D,
    keras.layers.SpatialDropout1D,
)
"""Classes of layers that there are for images, too."""

_POINTWISE = (
    keras.layers.Activation,
    keras.layers.BatchNormalization,
    keras.layers.Dropout,
    keras.layers.Identity,
    keras.layers.LayerNormalization,
    keras.layers.LeakyReLU,
    keras.layers.ReLU,
)
_MERGING = (
    keras.layers.Add,
    keras.layers.Average,
    keras.layers.Concatenate,
    keras.layers.Maximum,
    keras.layers.Minimum,
    keras.layers.Multiply,
    keras.layers.Subtract,
)
_CONVOLUTIONS = ("Conv1D", "DepthwiseConv1D", "SeparableConv1D")


def is_lifted(layer: Any) -> bool:
    """Whether there is such a layer for images, so that sequences are made images for it."""
    if type(layer) not in LIFTED or getattr(layer, "data_format", None) == "channels_first":
        return False
    keeps = getattr(layer, "keepdims", False)
    return not keeps and getattr(layer, "groups", 1) == 1


def layers_for_images(layer: keras.layers.Layer, name: str, rank: int) -> list | None:
    """Returns layers for images (steps, 1, channels) that compute what a layer does, or None.

    Args:
        layer: The layer, for sequences (steps, channels) or vectors (channels,).
        name: Name of the last of them.
        rank: Rank of the layer's inputs, the batch included.

    Returns:
        A list of (layer, its weights), to be called one after the other.
    """
    class_name, weights = type(layer).__name__, layer.get_weights()
    if is_lifted(layer):
        made = getattr(keras.layers, class_name.replace("1D", "2D"))
        settings = _settings(layer, layer.get_config())
        layers = [(made(**{**settings, "name": name}), _with_an_axis(layer, weights))]
        if getattr(layer, "padding", None) == "causal":
            missing = layer.dilation_rate[0] * (layer.kernel_size[0] - 1)
            padding = keras.layers.ZeroPadding2D(((missing, 0), (0, 0)), name=f"{name}_pad")
            layers.insert(0, (padding, []))
        return layers
    if type(layer) not in (*_POINTWISE, *_MERGING):
        return None
    axis = getattr(layer, "axis", -1)
    axes = axis if isinstance(axis, list | tuple) else [axis]
    if list(axes) not in ([-1], [rank - 1]):
        return None
    changes = {"axis": -1} if hasattr(layer, "axis") else {}
    return [(copy_of(layer, name=name, **changes), weights)]


def _settings(layer, config):
    """The configuration of a layer for sequences as the layer for images has it."""
    class_name, settings = type(layer).__name__, dict(config)
    is_depthwise = class_name in ("DepthwiseConv1D", "SeparableConv1D")
    for field in ("kernel_size", "strides", "dilation_rate", "pool_size"):
        if field in settings:
            value = settings[field]
            value = value[0] if isinstance(value, list | tuple) else value
            # TensorFlow's depthwise convolutions take as long strides both ways.
            both = field == "strides" and is_depthwise
            settings[field] = (value, value if both else 1)
    if class_name == "UpSampling1D":
        settings["size"] = (settings["size"], 1)
    for field in ("padding", "cropping"):
        if isinstance(settings.get(field), list | tuple):
            settings[field] = (tuple(settings[field]), (0, 0))
    if settings.get("padding") == "causal":
        settings["padding"] = "valid"
    return settings


def _with_an_axis(layer, weights):
    """Weights of a convolution over steps as those over steps and a width of 1."""
    if type(layer).__name__ not in _CONVOLUTIONS:
        return weights
    return [np.expand_dims(weight, 1) if weight.ndim > 1 else weight for weight in weights]
