"""Keras 3 operations as the layers of tf_keras that compute the same."""

import math
import numbers

import keras
import numpy as np

from kdzoo.utils.fields import is_plain

SHARED = frozenset(
    {"elu", "exponential", "gelu", "leaky_relu", "linear", "mish", "relu", "relu6", "selu"}
    | {"sigmoid", "silu", "softmax", "softplus", "softsign", "swish", "tanh"}
)
"""Activations that have one meaning in Keras 3 and in tf_keras."""

COMPOSED = ("hard_sigmoid", "hard_silu", "hard_swish")
"""Activations that tf_keras lacks, or has with another meaning, made of several layers."""

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


def apply(operation, args, kwargs, name, tf_keras):
    """Applies the tf_keras layer that stands for an operation.

    Args:
        operation: The `keras.Operation`, for example that of `x + y`.
        args: Its arguments, tf_keras tensors in the place of Keras's.
        kwargs: Its keyword arguments.
        name: Name of the new layer.
        tf_keras: The module.

    Returns:
        A tf_keras tensor.

    Raises:
        ValueError: If tf_keras has no layer for the operation.
    """
    kind, layers = type(operation).__name__, tf_keras.layers
    values = [*args, *kwargs.values()]
    tensors = [each for each in keras.tree.flatten(values) if _is_tensor(each)]
    if kind in _MERGED and len(tensors) == len(values) == 2:
        return make(getattr(layers, kind), name=name)(tensors)
    if len(tensors) == 1:
        changed = _with_a_number(kind, values)
        if changed is not None:
            scale, offset = changed
            return make(layers.Rescaling, scale, offset, name=name)(tensors[0])
        made = _of_one_tensor(operation, kind, tensors[0], layers, name)
        if made is not None:
            return made(tensors[0])
        if kind in _ACTIVATIONS and _is_usual(operation, kind):
            return activate(_ACTIVATIONS[kind], tensors[0], name, tf_keras)
    if kind == "Concatenate" and tensors:
        return make(layers.Concatenate, operation.axis, name=name)(tensors)
    from kdzoo.compression.tfmot.tf_keras_clone import no_twin

    raise no_twin(operation.name, f"keras.ops operation {kind}", "tf_keras has no layer for it")


def make(kind, *args, **kwargs):
    """Makes a layer of tf_keras of plain values, which are all that it may be given.

    Whatever a configuration of Keras 3 holds comes here; tf_keras would take a dictionary in it for
    an object to be made, as soon as the layer is cloned.

    Args:
        kind: The class of the layer.
        *args: Its arguments: numbers, words, lists of such, arrays of numbers, or other layers.
        **kwargs: The same.

    Raises:
        ValueError: If an argument is something else.
    """
    for value in (*args, *kwargs.values()):
        is_made = hasattr(value, "count_params")  # A layer of tf_keras, in a wrapper.
        is_array = isinstance(value, np.ndarray) and value.dtype.kind in "biuf"
        if not (is_made or is_array or is_plain(value)):
            raise ValueError(
                f"Expected numbers and words for a {kind.__name__}. Received: {repr(value)[:80]}"
            )
    return kind(*args, **kwargs)


def activate(activation, tensor, name, tf_keras):
    """Applies an activation by its Keras 3 name; the last layer bears the name."""
    layers = tf_keras.layers
    if activation not in COMPOSED:
        return make(layers.Activation, activation, name=name)(tensor)
    # relu6(x + 3) / 6: what tf_keras calls hard_sigmoid has another slope.
    shifted = make(layers.Rescaling, 1.0, 3.0, name=f"{name}_shift")(tensor)
    clipped = make(layers.ReLU, 6.0, name=f"{name}_clip")(shifted)
    if activation == "hard_sigmoid":
        return make(layers.Rescaling, 1 / 6, name=name)(clipped)
    gate = make(layers.Rescaling, 1 / 6, name=f"{name}_gate")(clipped)
    return make(layers.Multiply, name=name)([tensor, gate])


def _with_a_number(kind, values):
    """(scale, offset) of `x + 3`, `x / 255`, `1 - x`, …, or None."""
    if len(values) != 2:
        return None
    first_is_tensor = _is_tensor(values[0])
    number = values[1] if first_is_tensor else values[0]
    if isinstance(number, bool) or not isinstance(number, numbers.Real | np.generic):
        return None
    number = float(number)
    if kind == "Add":
        return 1.0, number
    if kind == "Multiply":
        return number, 0.0
    if kind == "Subtract":
        return (1.0, -number) if first_is_tensor else (-1.0, number)
    if kind in ("Divide", "TrueDivide") and first_is_tensor and number:
        return 1 / number, 0.0
    return None


def _of_one_tensor(operation, kind, tensor, layers, name):
    """The layer that stands for an operation on one tensor, or None."""
    if kind in _RESHAPING:
        shape = operation._inbound_nodes[0].outputs[0].shape
        fits = _size(tensor.shape) in (None, _size(shape))
        if shape[0] == tensor.shape[0] and None not in shape[1:] and fits:
            return make(layers.Reshape, shape[1:], name=name)
    rank = len(tensor.shape)
    if kind in ("Mean", "Max") and rank == 4 and _axes(operation.axis, rank) == (1, 2):
        pool = layers.GlobalAveragePooling2D if kind == "Mean" else layers.GlobalMaxPooling2D
        return make(pool, keepdims=operation.keepdims, name=name)
    if kind == "Transpose" and operation.axes and operation.axes[0] == 0:
        return make(layers.Permute, operation.axes[1:], name=name)
    if kind == "Clip" and operation.x_min == 0:
        return make(layers.ReLU, operation.x_max, name=name)
    return None


def _size(shape):
    """Number of values of one example; None where it is not known."""
    return None if None in shape[1:] else math.prod(shape[1:])


def _is_usual(operation, kind):
    """Whether an activation is called with the arguments that its name stands for."""
    usual = {"Softmax": ("axis", -1), "Gelu": ("approximate", False)}
    usual |= {"Elu": ("alpha", 1.0), "LeakyRelu": ("negative_slope", 0.2)}
    field, value = usual.get(kind, (None, None))
    return field is None or getattr(operation, field, value) == value


def _axes(axis, rank):
    axes = axis if isinstance(axis, list | tuple) else [axis]
    return tuple(sorted(each % rank for each in axes if each is not None))


def _is_tensor(value):
    """Whether a value is a symbolic tensor of tf_keras."""
    return hasattr(value, "node")
