"""Keras 3 operations as the layers of tf_keras that compute the same."""

import math
from typing import Any

import keras

from kdzoo.compression.tfmot.library import load_tf_keras
from kdzoo.compression.tfmot.tf_keras_activations import COMPOSED_ACTIVATIONS, hard_silu_layer
from kdzoo.compression.tfmot.tf_keras_layers import make
from kdzoo.compression.tfmot.unsupported_layers import cannot_clone
from kdzoo.graph.calls import Call
from kdzoo.graph.channel_scaling import scaling_by_a_number

_MERGED = {"Add", "Subtract", "Multiply", "Maximum", "Minimum"}
_ACTIVATIONS = {
    "Elu": "elu",
    "Gelu": "gelu",
    "LeakyRelu": "leaky_relu",
    "Relu": "relu",
    "Relu6": "relu6",
    "Selu": "selu",
    "Sigmoid": "sigmoid",
    "Silu": "silu",
    "Softmax": "softmax",
    "Softplus": "softplus",
    "Softsign": "softsign",
    "Tanh": "tanh",
    "HardSigmoid": "hard_sigmoid",
    "HardSilu": "hard_silu",
}
_RESHAPING = {"Reshape", "Squeeze", "ExpandDims"}


def apply(
    call: Call, args: tuple, kwargs: dict[str, Any], name: str, for_quantization: bool = False
) -> Any:
    """Applies the tf_keras layer that stands for an operation.

    Args:
        call: The `Call` of a `keras.Operation`, for example that of `x + y`.
        args: Its arguments, tf_keras tensors in the place of Keras's.
        kwargs: Its keyword arguments.
        name: Name of the new layer.
        for_quantization: Whether a hard swish is one layer.

    Returns:
        A tf_keras tensor.

    Raises:
        ValueError: If tf_keras has no layer for the operation.
    """
    operation, layers = call.operation, load_tf_keras().layers
    class_name = type(operation).__name__
    values = [*args, *kwargs.values()]
    tensors = [value for value in keras.tree.flatten(values) if _is_tensor(value)]
    if class_name in _MERGED and len(tensors) == len(values) == 2:
        return make(getattr(layers, class_name), name=name)(tensors)
    if len(tensors) == 1:
        changed = scaling_by_a_number(class_name, values, [_is_tensor(value) for value in values])
        if changed is not None:
            scale, offset = changed
            return make(layers.Rescaling, scale, offset, name=name)(tensors[0])
        made = _of_one_tensor(call, class_name, tensors[0], layers, name)
        if made is not None:
            return made(tensors[0])
        if class_name in _ACTIVATIONS and _is_usual(operation, class_name):
            return activate(_ACTIVATIONS[class_name], tensors[0], name, for_quantization)
    if class_name == "Concatenate" and tensors:
        return make(layers.Concatenate, operation.axis, name=name)(tensors)
    what = f"keras.ops operation {class_name}"
    raise cannot_clone(operation.name, what, "tf_keras has no layer for it")


def activate(activation: str, tensor: Any, name: str, for_quantization: bool = False) -> Any:
    """Applies an activation by its Keras 3 name; the last layer bears the name.

    Args:
        activation: Name of an activation that tf_keras has, or of `COMPOSED_ACTIVATIONS`.
        tensor: A tf_keras tensor.
        name: Name of the layer; those before it get it with an ending.
        for_quantization: Whether a hard swish is one layer, with one quantized output.

    Returns:
        A tf_keras tensor.
    """
    layers = load_tf_keras().layers
    if activation not in COMPOSED_ACTIVATIONS:
        return make(layers.Activation, activation, name=name)(tensor)
    if for_quantization and activation in ("hard_silu", "hard_swish"):
        return make(hard_silu_layer(), name=name)(tensor)
    # relu6(x + 3) / 6: what tf_keras calls hard_sigmoid has another slope.
    shifted = make(layers.Rescaling, 1.0, 3.0, name=f"{name}_shift")(tensor)
    clipped = make(layers.ReLU, 6.0, name=f"{name}_clip")(shifted)
    if activation == "hard_sigmoid":
        return make(layers.Rescaling, 1 / 6, name=name)(clipped)
    gate = make(layers.Rescaling, 1 / 6, name=f"{name}_gate")(clipped)
    return make(layers.Multiply, name=name)([tensor, gate])


def _of_one_tensor(call, class_name, tensor, layers, name):
    """The layer that stands for an operation on one tensor, or None."""
    operation = call.operation
    if class_name in _RESHAPING:
        shape = call.outputs[0].shape
        fits = _size(tensor.shape) in (None, _size(shape))
        if shape[0] == tensor.shape[0] and None not in shape[1:] and fits:
            return make(layers.Reshape, shape[1:], name=name)
    rank = len(tensor.shape)
    if class_name in ("Mean", "Max") and rank == 4 and _axes(operation.axis, rank) == (1, 2):
        is_mean = class_name == "Mean"
        pool = layers.GlobalAveragePooling2D if is_mean else layers.GlobalMaxPooling2D
        return make(pool, keepdims=operation.keepdims, name=name)
    if class_name == "Transpose" and operation.axes and operation.axes[0] == 0:
        return make(layers.Permute, operation.axes[1:], name=name)
    if class_name == "Clip" and operation.x_min == 0:
        return make(layers.ReLU, operation.x_max, name=name)
    return None


def _size(shape):
    """Number of values of one sample; None where it is not known."""
    return None if None in shape[1:] else math.prod(shape[1:])


def _is_usual(operation, class_name):
    """Whether an activation is called with the arguments that its name stands for."""
    usual = {"Softmax": ("axis", -1), "Gelu": ("approximate", False)}
    usual |= {"Elu": ("alpha", 1.0), "LeakyRelu": ("negative_slope", 0.2)}
    field, value = usual.get(class_name, (None, None))
    return field is None or getattr(operation, field, value) == value


def _axes(axis, rank):
    axes = axis if isinstance(axis, list | tuple) else [axis]
    return tuple(sorted(number % rank for number in axes if number is not None))


def _is_tensor(value):
    """Whether a value is a symbolic tensor of tf_keras."""
    return hasattr(value, "node")
