"""Layers and operations that scale and shift channels, and convolutions that do it besides."""

import dataclasses
import numbers
from typing import Any

import keras
import numpy as np

from kdzoo.graph.calls import Call
from kdzoo.graph.surgery import copy_of

Scaling = tuple[np.ndarray, np.ndarray]
"""Factors and summands of x·factor + summand, float64 arrays of shape () or (channels,)."""

LINEAR = (
    keras.layers.Conv2D,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv2D,
    keras.layers.Dense,
)
"""Layers whose kernel and bias can scale and shift what they give."""


def scaling_by_a_number(class_name: str, values: list[Any], is_tensor: list[bool]) -> Any:
    """Returns (factor, summand) of an operation such as `x + 3`, `x / 255` or `1 - x`, or None.

    Args:
        class_name: Class of the operation of `keras.ops`, such as `"Add"`.
        values: Its arguments.
        is_tensor: Whether each of these is a symbolic tensor.
    """
    if len(values) != 2 or sum(is_tensor) != 1:
        return None
    number = values[is_tensor.index(False)]
    if isinstance(number, bool) or not isinstance(number, numbers.Real | np.generic):
        return None
    number = float(number)
    if class_name == "Add":
        return 1.0, number
    if class_name == "Multiply":
        return number, 0.0
    if class_name == "Subtract":
        return (1.0, -number) if is_tensor[0] else (-1.0, number)
    if class_name in ("Divide", "TrueDivide") and is_tensor[0] and number:
        return 1 / number, 0.0
    return None


def scaling_of(call: Call, args: tuple, kwargs: dict[str, Any]) -> Scaling | None:
    """Returns the `Scaling` that a call computes in inference, or None if it computes another.

    `Rescaling`, `Normalization`, `BatchNormalization` and the `LayerScale` of ConvNeXt are known,
    over the last axis, and arithmetic with a number.

    Args:
        call: The `Call`.
        args: Its arguments.
        kwargs: Its keyword arguments.
    """
    layer = call.operation
    if isinstance(layer, keras.layers.Rescaling):
        found = layer.scale, layer.offset
    elif isinstance(layer, keras.layers.Normalization):
        found = _of_normalization(layer, len(call.inputs[0].shape))
    elif isinstance(layer, keras.layers.BatchNormalization):
        found = _of_batch_normalization(layer, len(call.inputs[0].shape))
    elif type(layer).__name__ == "LayerScale" and type(layer).__module__.startswith("keras."):
        found = np.asarray(layer.gamma), 0.0
    elif not isinstance(layer, keras.layers.Layer):
        values = [*args, *kwargs.values()]
        is_tensor = [isinstance(value, keras.KerasTensor) for value in values]
        found = scaling_by_a_number(type(layer).__name__, values, is_tensor)
    else:
        return None
    if found is None:
        return None
    factor, summand = (np.squeeze(np.asarray(part, "float64")) for part in found)
    channels = call.inputs[0].shape[-1]
    fits = all(part.shape in ((), (channels,)) for part in (factor, summand))
    return (factor, summand) if fits else None


def _of_normalization(layer, rank):
    """Factor and summand of a `Normalization` over the last axis, or None."""
    axes = layer.axis if isinstance(layer.axis, list | tuple) else [layer.axis]
    if layer.invert or layer.mean is None or not set(axes) <= {-1, rank - 1, None}:
        return None
    mean, variance = (
        keras.ops.convert_to_numpy(part).astype("float64") for part in (layer.mean, layer.variance)
    )
    factor = 1 / np.maximum(np.sqrt(variance), keras.backend.epsilon())
    return factor, -mean * factor


def _of_batch_normalization(layer, rank):
    """Factor and summand of a `BatchNormalization` over the last axis, or None."""
    if layer.axis not in (-1, rank - 1):
        return None
    factor = 1 / np.sqrt(np.asarray(layer.moving_variance, "float64") + layer.epsilon)
    if layer.scale:
        factor = factor * np.asarray(layer.gamma)
    summand = -np.asarray(layer.moving_mean) * factor
    return factor, summand + np.asarray(layer.beta) if layer.center else summand


@dataclasses.dataclass(frozen=True)
class Linear:
    """A convolution or dense layer without an activation, as it will be made.

    Attributes:
        source: What it is called with, a Keras tensor.
        layer: A layer of its configuration, of one of the classes `LINEAR`.
        weights: Its weights, a list of arrays.
    """

    source: keras.KerasTensor
    layer: keras.layers.Layer
    weights: list[np.ndarray]

    def scaled(self, factor: np.ndarray, summand: np.ndarray) -> "Linear":
        """Returns the layer that also scales and shifts what this one gives.

        Args:
            factor: Array of shape () or (channels,) of the output.
            summand: Array of shape () or (channels,) of the output.
        """
        has_bias = self.layer.use_bias
        *kernels, kernel = self.weights[:-1] if has_bias else self.weights
        bias = self.weights[-1] if has_bias else 0.0
        by_channel = factor
        if isinstance(self.layer, keras.layers.DepthwiseConv2D) and factor.ndim:
            by_channel = factor.reshape(kernel.shape[2:])
        weights = [*kernels, (kernel * by_channel).astype("float32")]
        layer = self.layer
        if has_bias or np.any(summand):
            layer = copy_of(layer, use_bias=True)
            channels = np.prod(kernel.shape[2:]) if self._is_depthwise() else kernel.shape[-1]
            shifted = np.broadcast_to(bias * factor + summand, (int(channels),))
            weights.append(shifted.astype("float32"))
        return Linear(self.source, layer, weights)

    def _is_depthwise(self):
        return isinstance(self.layer, keras.layers.DepthwiseConv2D)

    def output(self) -> keras.KerasTensor:
        """Makes the layer, calls it and gives it its weights; returns what it gives."""
        layer = copy_of(self.layer)
        outputs = layer(self.source)
        layer.set_weights(self.weights)
        return outputs
