"""The layers that take the place of others where a graph is to be quantized."""

from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike

from kdzoo.graph.channel_scaling import LINEAR, Linear

OF_OPERATIONS = {
    "Gelu": "gelu",
    "HardSigmoid": "hard_sigmoid",
    "HardSilu": "hard_silu",
    "Relu6": "relu6",
    "Silu": "silu",
}
"""Class of an operation -> the activation that it is, as a layer has it."""

_REGULARIZERS = ("kernel_regularizer", "bias_regularizer", "activity_regularizer")
_OF_BOTH = (
    *("kernel_size", "strides", "padding", "dilation_rate", "use_bias", "activation"),
    *("data_format", "trainable", "dtype", "name"),
)
"""Arguments that a grouped and a depthwise convolution share."""

_SPLIT = {*OF_OPERATIONS.values(), "hard_swish", "swish"}
_WITHIN = {"linear", "relu", "sigmoid", "softmax", "tanh"}
"""Activations that are quantized within the layer that computes them."""


def is_plain_linear(layer: Any) -> bool:
    """Whether this is a layer with one kernel, as Keras makes it."""
    is_changed = getattr(layer, "lora_enabled", False) or getattr(layer, "quantization_mode", None)
    return type(layer) in LINEAR and not is_changed


def as_convolution(layer: keras.layers.Dense, name: str) -> keras.layers.Conv2D:
    """Returns the 1x1 convolution that a dense layer of images is, without weights."""
    config = layer.get_config()
    fields = ("use_bias", "activation", "trainable", "dtype", *_REGULARIZERS)
    given = {field: config[field] for field in fields if field in config}
    return keras.layers.Conv2D(config["units"], 1, name=name, data_format="channels_last", **given)


def as_depthwise(layer: Any, channels: int | None) -> keras.layers.DepthwiseConv2D | None:
    """Returns the depthwise convolution that one with as many groups as channels is, or None.

    Args:
        layer: The layer.
        channels: Number of channels of its input.
    """
    is_grouped = type(layer) is keras.layers.Conv2D and 1 < layer.groups == channels
    is_square = is_grouped and layer.strides[0] == layer.strides[1]
    if not is_square or layer.data_format != "channels_last":
        return None
    config = layer.get_config()
    fields = (*_OF_BOTH, *_REGULARIZERS)
    given = {field: config[field] for field in fields if field in config}
    given["depthwise_regularizer"] = given.pop("kernel_regularizer")
    return keras.layers.DepthwiseConv2D(depth_multiplier=layer.filters // layer.groups, **given)


def activation_name(layer: Any) -> str | None:
    """Returns the name of a layer's activation, or None for a function of the user's."""
    found = keras.activations.serialize(layer.activation)
    return found if isinstance(found, str) else None


def splits_activation(layer: Any, splits_all: bool) -> bool:
    """Whether the activation of a layer becomes a layer of its own.

    Args:
        layer: The layer.
        splits_all: Whether all do that integer layers do not have.
    """
    name = activation_name(layer)
    return name in _SPLIT or (splits_all and name not in _WITHIN)


def activated(x: Any, activation: Any, name: str, dtype: Any) -> keras.KerasTensor:
    """Returns an activation, by layers that can be quantized.

    Args:
        x: What is activated: a Keras tensor, or a `Linear` that gives it.
        activation: The activation, a function or its name.
        name: Name of the layer; those before it get it with an ending.
        dtype: Dtype policy of the layers.
    """
    text = keras.activations.serialize(activation) if callable(activation) else activation
    if text == "hard_sigmoid":
        one, three = np.asarray(1.0), np.asarray(3.0)
        is_linear = isinstance(x, Linear)
        x = (
            x.scaled(one, three).output()
            if is_linear
            else rescaled(x, 1, 3, f"{name}_shift", dtype)
        )
        x = keras.layers.ReLU(6.0, name=f"{name}_clip", dtype=dtype)(x)
        return rescaled(x, 1 / 6, 0, name, dtype)
    x = x.output() if isinstance(x, Linear) else x
    if text == "relu6":
        return keras.layers.ReLU(6.0, name=name, dtype=dtype)(x)
    return keras.layers.Activation(activation, name=name, dtype=dtype)(x)


def rescaled(
    x: keras.KerasTensor, factor: ArrayLike, summand: ArrayLike, name: str, dtype: Any
) -> keras.KerasTensor:
    """Returns x · factor + summand, by a `Rescaling`.

    Args:
        x: The Keras tensor.
        factor: A number, or one for each channel.
        summand: A number, or one for each channel.
        name: Name of the layer.
        dtype: Its dtype policy.
    """
    numbers = [np.asarray(number, "float64").tolist() for number in (factor, summand)]
    return keras.layers.Rescaling(*numbers, name=name, dtype=dtype)(x)


def as_frozen_depthwise(
    x: keras.KerasTensor, factor: ArrayLike, summand: ArrayLike, name: str, dtype: Any
) -> keras.KerasTensor:
    """Returns x · factor + summand, by a 1x1 depthwise convolution that is not trained.

    Args:
        x: The Keras tensor, images (batch, height, width, channels).
        factor: A number, or one for each channel.
        summand: A number, or one for each channel.
        name: Name of the layer.
        dtype: Its dtype policy.
    """
    channels = x.shape[-1]
    settings = {"data_format": "channels_last", "dtype": dtype}
    layer = keras.layers.DepthwiseConv2D(1, name=name, trainable=False, **settings)
    outputs = layer(x)
    kernel = np.broadcast_to(factor, channels).reshape(1, 1, channels, 1)
    layer.set_weights([kernel, np.broadcast_to(summand, channels)])
    return outputs
