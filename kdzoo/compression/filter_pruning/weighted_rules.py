"""How channels pass through layers with weights: what makes channels, and what reads them.

A rule is a function of the `Coupling`, a `Call` and the `Channels` of its input to those of its
output; it raises `NotUnderstoodError`, before it notes anything, where it cannot follow them.
"""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from kdzoo.compression.filter_pruning.channels import (
    Channels,
    NotUnderstoodError,
    lying_along,
    matter,
)
from kdzoo.compression.filter_pruning.coupling import Coupling, Fold, count_left, kernel_of
from kdzoo.graph.calls import Call

Rule = Callable[[Coupling, Call, Channels], Channels]

_ELEMENTWISE = (
    "linear relu relu6 leaky_relu elu selu celu gelu silu mish sigmoid hard_sigmoid hard_silu "
    "log_sigmoid sparse_sigmoid tanh tanh_shrink hard_tanh softplus softsign squareplus "
    "sparse_plus soft_shrink hard_shrink exponential"
)
_GIVING_ZEROS = (
    "relu relu6 hard_sigmoid hard_silu sparse_sigmoid sparse_plus soft_shrink hard_shrink"
)
BY_A_CONSTANT = "a constant in it would depend on where zeros are padded"


def check_elementwise(activation: Any) -> None:
    """Raises `NotUnderstoodError` unless an activation takes each value by itself."""
    name = getattr(activation, "__name__", None)
    is_of_keras = (
        name in _ELEMENTWISE.split() and getattr(keras.activations, name, None) is activation
    )
    if not is_of_keras and type(activation) not in (keras.layers.ReLU, keras.layers.LeakyReLU):
        raise NotUnderstoodError(f"its activation {name or type(activation).__name__} may mix them")


def gives_zeros(activation: Any) -> bool:
    """Returns whether an activation, a function or a layer, is exactly 0 on a whole interval."""
    if isinstance(activation, keras.layers.ReLU):
        return not activation.negative_slope
    return getattr(activation, "__name__", None) in _GIVING_ZEROS.split()


def channel_axis(layer: keras.layers.Layer, channels: Channels) -> int:
    """Returns the axis of the channels, from 0, by a layer's data format."""
    first = getattr(layer, "data_format", "channels_last") == "channels_first"
    return 1 if first else len(channels.shape) - 1


def convolution(coupling: Coupling, call: Call, x: Channels) -> Channels:
    """`Conv1D`, `Conv2D`, `Conv3D`, also of several groups."""
    layer: Any = call.operation
    ids, constants, axis = _checked_inputs(layer, x)
    reads, filters = layer.kernel.shape[-2:]
    shape = call.outputs[0].shape
    coupling.multiplies(layer, "kernel", _positions(shape, axis))
    if layer.groups > 1 and reads == 1:  # A depthwise convolution under another name.
        outputs = np.repeat(ids, filters // len(ids))
        coupling.change(layer, groups=count_left(ids))
        coupling.has(layer, call.path, "kernel", -1, outputs, "through")
    else:
        outputs = coupling.new(layer, call.path, filters)
        _couple_groups(coupling, layer, ids, outputs)
        coupling.has(layer, call.path, "kernel", -2, ids[:reads], "in")
        coupling.has(layer, call.path, "kernel", -1, outputs, "out")
    coupling.has(layer, call.path, "bias", 0, outputs, "through")
    coupling.change(layer, filters=count_left(outputs))
    if layer.groups > 1:
        coupling.freeze(ids[matter(constants)], f"{call.path!r} has several groups")
        zero = ~np.asarray(layer.kernel).reshape(-1, filters).any(0)
        made = np.where(zero, _bias(layer), np.nan)
    else:
        made = _made_constants(coupling, layer, "kernel", ids, constants, outputs, _pads(layer))
    return _output(coupling, call, shape, axis, outputs, made)


def depthwise(coupling: Coupling, call: Call, x: Channels) -> Channels:
    """`DepthwiseConv1D`, `DepthwiseConv2D`."""
    layer: Any = call.operation
    ids, constants, axis = _checked_inputs(layer, x)
    outputs, made = _depthwise_part(
        coupling, call, ids, constants, "kernel", layer.depth_multiplier, _bias(layer)
    )
    coupling.has(layer, call.path, "bias", 0, outputs, "through")
    shape = call.outputs[0].shape
    coupling.multiplies(layer, "kernel", _positions(shape, axis))
    return _output(coupling, call, shape, axis, outputs, made)


def separable(coupling: Coupling, call: Call, x: Channels) -> Channels:
    """`SeparableConv1D`, `SeparableConv2D`: a depthwise convolution and one of 1 x 1."""
    layer: Any = call.operation
    ids, constants, axis = _checked_inputs(layer, x)
    between, constants = _depthwise_part(
        coupling, call, ids, constants, "depthwise_kernel", layer.depth_multiplier, 0.0
    )
    outputs = coupling.new(layer, call.path, layer.filters)
    coupling.has(layer, call.path, "pointwise_kernel", -2, between, "in")
    coupling.has(layer, call.path, "pointwise_kernel", -1, outputs, "out")
    coupling.has(layer, call.path, "bias", 0, outputs, "through")
    coupling.change(layer, filters=count_left(outputs))
    shape = call.outputs[0].shape
    for weight in ("depthwise_kernel", "pointwise_kernel"):
        coupling.multiplies(layer, weight, _positions(shape, axis))
    made = _made_constants(coupling, layer, "pointwise_kernel", between, constants, outputs, False)
    return _output(coupling, call, shape, axis, outputs, made)


def transposed(coupling: Coupling, call: Call, x: Channels) -> Channels:
    """`Conv1DTranspose`, `Conv2DTranspose`, `Conv3DTranspose`."""
    layer: Any = call.operation
    ids, constants, axis = _checked_inputs(layer, x)
    outputs = coupling.new(layer, call.path, layer.filters)
    coupling.has(layer, call.path, "kernel", -1, ids, "in")
    coupling.has(layer, call.path, "kernel", -2, outputs, "out")
    coupling.has(layer, call.path, "bias", 0, outputs, "through")
    coupling.change(layer, filters=count_left(outputs))
    coupling.multiplies(layer, "kernel", _positions(x.shape, axis))
    made = _made_constants(coupling, layer, "kernel", ids, constants, outputs, True)
    return _output(coupling, call, call.outputs[0].shape, axis, outputs, made)


def dense(coupling: Coupling, call: Call, x: Channels) -> Channels:
    """`Dense`, over the last axis."""
    layer: Any = call.operation
    ids, constants, axis = _checked_inputs(layer, x)
    outputs = coupling.new(layer, call.path, layer.units)
    coupling.has(layer, call.path, "kernel", 0, ids, "in")
    coupling.has(layer, call.path, "kernel", 1, outputs, "out")
    coupling.has(layer, call.path, "bias", 0, outputs, "through")
    coupling.change(layer, units=count_left(outputs))
    shape = call.outputs[0].shape
    coupling.multiplies(layer, "kernel", shape[1:-1])
    made = _made_constants(coupling, layer, "kernel", ids, constants, outputs, False)
    return _output(coupling, call, shape, axis, outputs, made)


def batch_normalization(coupling: Coupling, call: Call, x: Channels) -> Channels:
    """`BatchNormalization`."""
    layer: Any = call.operation
    axis = layer.axis % len(x.shape)
    ids, constants = x.along(axis)
    for weight in ("gamma", "beta", "moving_mean", "moving_variance"):
        coupling.has(layer, call.path, weight, 0, ids, "through")
    scale = 1 / np.sqrt(np.asarray(layer.moving_variance, "float64") + layer.epsilon)
    scale = scale * (np.asarray(layer.gamma) if layer.scale else 1.0)
    shift = np.asarray(layer.beta) if layer.center else 0.0
    made = (constants - np.asarray(layer.moving_mean)) * scale + shift
    made = np.where(scale == 0, shift, made)  # Also of what is no constant.
    return lying_along(x.shape, axis, ids, made)


def normalization_over_channels(coupling: Coupling, call: Call, x: Channels) -> Channels:
    """`LayerNormalization`, `RMSNormalization` over one axis: what goes changes what stays."""
    layer: Any = call.operation
    axes = layer.axis if isinstance(layer.axis, list | tuple) else [layer.axis]
    if len(axes) > 1:
        raise NotUnderstoodError("it normalizes over several axes")
    ids, _ = x.along(axes[0])
    for weight in ("gamma", "beta", "scale"):
        if not isinstance(getattr(layer, weight, None), bool):
            coupling.has(layer, call.path, weight, 0, ids, "through")
    return lying_along(x.shape, axes[0] % len(x.shape), ids, np.full(len(ids), np.nan))


def layer_scale(coupling: Coupling, call: Call, x: Channels) -> Channels:
    """`LayerScale` of ConvNeXt: a factor for each channel."""
    layer: Any = call.operation
    ids, constants = x.along(-1)
    coupling.has(layer, call.path, "gamma", 0, ids, "through")
    coupling.change(layer, projection_dim=count_left(ids))
    gamma = np.asarray(layer.gamma, "float64")
    made = np.where(gamma == 0, 0.0, constants * gamma)
    return lying_along(x.shape, len(x.shape) - 1, ids, made)


def prelu(coupling: Coupling, call: Call, x: Channels) -> Channels:
    """`PReLU`, with slopes for all values or shared along some axes."""
    layer: Any = call.operation
    for axis in x.varying:
        if layer.alpha.shape[axis - 1] > 1:
            ids, _ = x.along(axis)
            coupling.has(layer, call.path, "alpha", axis - 1, ids, "through")
    return x.with_constants(np.where(np.nan_to_num(x.constants, nan=-1) >= 0, x.constants, np.nan))


def _checked_inputs(layer, x):
    """The numbers and constants of a layer's input channels, and their axis."""
    if getattr(layer, "lora_enabled", False) or getattr(layer, "quantization_mode", None):
        raise NotUnderstoodError("its kernel is held in parts")
    axis = channel_axis(layer, x)
    return *x.along(axis), axis


def _positions(shape, axis):
    return [size for place, size in enumerate(shape) if place not in (0, axis)]


def _bias(layer):
    return 0.0 if layer.bias is None else np.asarray(layer.bias, "float64")


def _pads(layer):
    """Whether a layer adds zeros around its input."""
    return layer.padding != "valid" and any(size > 1 for size in layer.kernel_size)


def _couple_groups(coupling, layer, ids, outputs):
    """Lets the groups of a convolution lose the same of their channels."""
    if layer.groups > 1:
        for part in (ids, outputs):
            groups = part.reshape(layer.groups, -1)
            coupling.unite(groups, groups[:1], f"{layer.name!r} needs groups of one size")


def _depthwise_part(coupling, call, ids, constants, weight, multiplier, bias):
    """Numbers and constants after each channel was convolved by itself."""
    layer: Any = call.operation
    outputs = np.repeat(ids, multiplier)
    coupling.has(layer, call.path, weight, -2, ids, "through")
    kernel = np.asarray(getattr(layer, weight), "float64")
    kernel = kernel.reshape(-1, len(ids) * multiplier)
    is_zero, constants = ~kernel.any(0), np.repeat(constants, multiplier)
    if _pads(layer):
        wrong = ~is_zero & matter(constants)
        coupling.freeze(outputs[wrong], f"{call.path!r}: {BY_A_CONSTANT}")
        constants = np.where(wrong, np.nan, constants)
    return outputs, np.where(is_zero, 0.0, constants * kernel.sum(0)) + bias


def _made_constants(coupling, layer, weight, ids, constants, outputs, pads):
    """The constants of outputs, each a sum over inputs; notes what is to be folded."""
    kernel = kernel_of(layer, weight)
    reads, known = kernel.any(0), np.nan_to_num(constants)
    varies = reads & np.isnan(constants)[:, None]
    if pads:
        wrong = reads & matter(constants)[:, None]
        coupling.freeze(ids[wrong.any(1)], f"{layer.name!r}: {BY_A_CONSTANT}")
        varies |= wrong
    coupling.folds_into(Fold(layer, weight, ids, constants, outputs))
    return np.where(varies.any(0), np.nan, known @ kernel.sum(0) + _bias(layer))


def _output(coupling, call, shape, axis, ids, constants):
    """The channels of what a layer gives after its activation."""
    layer: Any = call.operation
    is_linear = layer.activation is keras.activations.linear
    try:
        check_elementwise(layer.activation)
    except NotUnderstoodError as reason:
        coupling.freeze(ids, f"{call.path!r}: {reason}")
        constants = np.full(len(ids), np.nan)
    if not np.isnan(constants).all() and not is_linear:
        known = keras.ops.convert_to_tensor(np.nan_to_num(constants).astype("float32"))
        activated = keras.ops.convert_to_numpy(layer.activation(known))
        constants = np.where(np.isnan(constants), np.nan, activated)
    out = lying_along(shape, axis, ids, constants)
    if gives_zeros(layer.activation):
        coupling.activations.append((call.outputs[0], out.ids))
    return out
