"""How channels pass through layers and operations without weights.

A rule is a function of the `Coupling`, a `Call`, the list of the `Channels` of its inputs and its
arguments and keyword arguments, with `Channels` among them, to the `Channels` of its output.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from kdzoo.compression.filter_pruning.channels import Channels, NotUnderstoodError, fixed, matter
from kdzoo.compression.filter_pruning.coupling import Coupling
from kdzoo.compression.filter_pruning.weighted_rules import (
    BY_A_CONSTANT,
    channel_axis,
    check_elementwise,
    gives_zeros,
)
from kdzoo.graph.calls import Call
from kdzoo.graph.input_shape_checks import is_array
from kdzoo.utils import is_number

_OPERATIONS_GIVING_ZEROS = ("Relu", "Relu6", "HardSigmoid", "HardSilu")


def kept(coupling: Coupling, call: Call, inputs: list, args: Any, kwargs: Any) -> Channels:
    """What is the identity outside of training, such as `Dropout`."""
    x, noise_shape = inputs[0], getattr(call.operation, "noise_shape", None)
    if noise_shape is not None:
        sizes = (1,) * (len(x.shape) - len(noise_shape)) + tuple(noise_shape)
        if any(sizes[axis] not in (None, 1) for axis in x.varying):
            raise NotUnderstoodError("its noise_shape holds the number of channels")
    return x


def elementwise(coupling: Coupling, call: Call, inputs: list, args: Any, kwargs: Any) -> Channels:
    """What computes each value from one value."""
    check_elementwise(getattr(call.operation, "activation", keras.activations.linear))
    if isinstance(call.operation, keras.layers.Rescaling):
        layer = call.operation
        if np.size(layer.scale) > 1 or np.size(layer.offset) > 1:
            raise NotUnderstoodError("it scales each channel by a number of its own")
    x = inputs[0]
    if any(map(_has_several, vars(call.operation).values())):
        raise NotUnderstoodError("it takes numbers for each channel")
    out = x.with_constants(_computed(call, inputs, args, kwargs, x.ids.shape))
    made_by = getattr(call.operation, "activation", call.operation)
    if gives_zeros(made_by) or type(call.operation).__name__ in _OPERATIONS_GIVING_ZEROS:
        coupling.activations.append((call.outputs[0], out.ids))
    return out


def merged(coupling: Coupling, call: Call, inputs: list, args: Any, kwargs: Any) -> Channels:
    """What computes each value from values of several tensors at one place, such as sums."""
    shape = tuple(call.outputs[0].shape)
    others = [x for x in keras.tree.flatten((args, kwargs)) if not isinstance(x, Channels)]
    if any(np.size(leaf) > 1 for leaf in others) or _has_numbers((*args, *kwargs.values())):
        raise NotUnderstoodError("it is called with constants of its own")
    ids = [x.ids.reshape((1,) * (len(shape) - x.ids.ndim) + x.ids.shape) for x in inputs]
    sizes = [(1,) * (len(shape) - len(x.shape)) + x.shape for x in inputs]
    result = np.broadcast_shapes(*(part.shape for part in ids))
    together = []
    for part, own in zip(ids, sizes, strict=True):
        spread = [
            axis
            for axis, size in enumerate(result)
            if size > 1 and part.shape[axis] == 1 and own[axis] == 1
        ]
        if spread:  # One channel that meets all channels of the other tensors.
            coupling.freeze(part, f"{call.path!r} spreads it over all channels")
        else:
            together.append(np.broadcast_to(part, result))
    for part in together[1:]:
        coupling.unite(together[0], part, f"{call.path!r} joins it with what stays")
    constants = _computed(call, inputs, args, kwargs, result)
    return Channels(shape, together[0] if together else np.zeros(result, "int64"), constants)


def concatenated(coupling: Coupling, call: Call, inputs: list, args: Any, kwargs: Any) -> Channels:
    """`Concatenate`, along the channels or along another axis."""
    operation: Any = call.operation
    shape = tuple(call.outputs[0].shape)
    axis = operation.axis % len(shape)
    elsewhere = {other for x in inputs for other in x.varying if other != axis}
    if not elsewhere:
        if shape[axis] is None:
            if any(x.varying for x in inputs):
                raise NotUnderstoodError("it joins an unknown number of channels")
            return fixed(shape)

        def joined(name):
            parts = []
            for x in inputs:
                sizes = list(x.ids.shape)
                sizes[axis] = x.shape[axis]
                parts.append(np.broadcast_to(getattr(x, name), sizes))
            return np.concatenate(parts, axis)

        return Channels(shape, joined("ids"), joined("constants"))
    if any(axis in x.varying for x in inputs):
        raise NotUnderstoodError("it joins channels that lie along several axes")
    first = inputs[0]
    for x in inputs[1:]:
        coupling.unite(first.ids, x.ids, f"{call.path!r} joins it with what stays")
    result = np.broadcast_shapes(*(x.ids.shape for x in inputs))
    same = np.broadcast_to(first.constants, result)
    for x in inputs[1:]:
        same = np.where(same == x.constants, same, np.nan)
    return Channels(shape, np.broadcast_to(first.ids, result), same)


def reshaped(coupling: Coupling, call: Call, inputs: list, args: Any, kwargs: Any) -> Channels:
    """`Flatten`, `Reshape` and the operation `reshape`."""
    operation: Any = call.operation
    if getattr(operation, "data_format", None) == "channels_first":
        raise NotUnderstoodError("it flattens channels that lie first")
    shape = tuple(call.outputs[0].shape)
    has_sizes = not isinstance(operation, keras.layers.Flatten)
    try:
        out = inputs[0].reshaped(shape)
    except NotUnderstoodError:
        if has_sizes:  # What its other calls are given stays, too.
            coupling.takes_shape(operation, call.path, shape, fixed(shape).ids)
        raise
    if has_sizes:
        coupling.takes_shape(operation, call.path, shape, out.ids)
    if out.varying:
        coupling.shapes.append(out.ids)
        left = _sizes_left(out, shape[1:])
        if isinstance(operation, keras.layers.Reshape):
            coupling.change(operation, target_shape=left)
        elif has_sizes:
            batch = operation.newshape[0]
            coupling.change(operation, newshape=lambda stays: (batch, *left(stays)))
    return out


def _sizes_left(out, sizes):
    """The function of what stays to the sizes of a tensor, the batch left out."""

    def left(stays):
        mask, found = stays[out.ids], list(sizes)
        for axis in out.varying:
            others = tuple(other for other in range(mask.ndim) if other != axis)
            found[axis - 1] = int(mask.any(axis=others).sum())
        return tuple(found)

    return left


def permuted(coupling: Coupling, call: Call, inputs: list, args: Any, kwargs: Any) -> Channels:
    """`Permute`, and the operation `transpose`."""
    operation: Any = call.operation
    shape = call.outputs[0].shape
    if isinstance(operation, keras.layers.Permute):
        axes: Any = (0, *operation.dims)
    else:
        axes = operation.axes or tuple(reversed(range(len(shape))))
    if axes[0] != 0:
        raise NotUnderstoodError("it moves the batch")
    return inputs[0].moved(shape, lambda array: array.transpose(axes))


def pooled(coupling: Coupling, call: Call, inputs: list, args: Any, kwargs: Any) -> Channels:
    """Pooling; channels that are pooled with each other go together."""
    x, axis = inputs[0], channel_axis(call.operation, inputs[0])
    return _united(coupling, call, x, [other for other in x.varying if other != axis])


def resized(coupling: Coupling, call: Call, inputs: list, args: Any, kwargs: Any) -> Channels:
    """`UpSampling` and `Cropping` of axes along which channels do not differ."""
    x, axis = inputs[0], channel_axis(call.operation, inputs[0])
    if set(x.varying) - {axis}:
        raise NotUnderstoodError("the channels lie along another axis")
    return Channels(tuple(call.outputs[0].shape), x.ids, x.constants)


def globally_pooled(
    coupling: Coupling, call: Call, inputs: list, args: Any, kwargs: Any
) -> Channels:
    """Global pooling."""
    x, axis = inputs[0], channel_axis(call.operation, inputs[0])
    axes = [other for other in range(1, len(x.shape)) if other != axis]
    return _reduced(coupling, call, x, axes)


def reduced(coupling: Coupling, call: Call, inputs: list, args: Any, kwargs: Any) -> Channels:
    """The operations `mean`, `max`, `min`, `sum`; what is reduced goes together."""
    x, axes = inputs[0], getattr(call.operation, "axis", None)
    axes = range(len(x.shape)) if axes is None else axes
    axes = [axes] if isinstance(axes, int) else list(axes)
    axes = [axis % len(x.shape) for axis in axes]
    if 0 in axes:
        raise NotUnderstoodError("it joins the samples of a batch")
    is_sum = type(call.operation).__name__ == "Sum"
    out = _reduced(coupling, call, x, axes)
    return out.with_constants(np.where(out.constants == 0, 0, np.nan)) if is_sum else out


def zero_padded(coupling: Coupling, call: Call, inputs: list, args: Any, kwargs: Any) -> Channels:
    """`ZeroPadding`; zeros along the axis of the channels are channels of their own."""
    layer: Any = call.operation
    x, shape = inputs[0], tuple(call.outputs[0].shape)
    first = 2 if getattr(layer, "data_format", "channels_last") == "channels_first" else 1
    pairs = layer.padding if isinstance(layer.padding[0], Sequence) else [layer.padding]
    padding = {first + place: tuple(pair) for place, pair in enumerate(pairs) if any(pair)}
    along = [axis for axis in padding if axis in x.varying]
    if not along:
        wrong = matter(x.constants)
        coupling.freeze(x.ids[wrong], f"{call.path!r}: {BY_A_CONSTANT}")
        return Channels(shape, x.ids, np.where(wrong, np.nan, x.constants))
    if len(padding) > 1 or x.varying != along:
        raise NotUnderstoodError("it pads along several axes")
    (axis,) = along
    before, after = padding[axis]
    zeros = coupling.new(layer, call.path, before + after)
    sides = [(0, 0)] * x.ids.ndim
    sides[axis] = (before, after)
    sizes = [size + sum(side) for size, side in zip(x.ids.shape, sides, strict=True)]
    ids = np.concatenate([zeros[:before], x.ids.reshape(-1), zeros[before:]]).reshape(sizes)

    def left(stays):
        new = [int(stays[part].sum()) for part in (zeros[:before], zeros[before:])]
        pairs_left = [tuple(pair) for pair in pairs]
        pairs_left[axis - first] = tuple(new)
        return pairs_left[0] if len(pairs) == 1 else tuple(pairs_left)

    coupling.change(layer, padding=left)
    return Channels(shape, ids, np.pad(x.constants, sides))


def _united(coupling, call, x, axes):
    """Channels of which those along some axes are one, in the shape that the call gives."""
    ids, constants = x.ids, x.constants
    if x.varying and set(x.varying) <= set(axes):  # One channel, which could not go, would be left.
        coupling.freeze(ids, f"{call.path!r} joins all of its channels")
        ids = np.zeros_like(ids)
    for axis in axes:
        first = np.take(ids, [0], axis)
        coupling.unite(ids, first, f"{call.path!r} joins it with what stays")
        low, high = constants.min(axis, keepdims=True), constants.max(axis, keepdims=True)
        ids, constants = first, np.where(low == high, low, np.nan)
    return Channels(tuple(call.outputs[0].shape), ids, constants)


def _reduced(coupling, call, x, axes):
    out = _united(coupling, call, x, [axis for axis in axes if axis in x.varying])
    if len(out.shape) == len(x.shape):
        return out
    return out.moved(out.shape, lambda array: array.squeeze(tuple(axes)))


def _computed(call, inputs, args, kwargs, shape):
    """The constants of what a call gives, of this shape: computed by the call itself."""
    constants = [np.broadcast_to(_aligned(x.constants, len(shape)), shape) for x in inputs]
    varies = np.any([np.isnan(part) for part in constants], axis=0)
    if "Multiply" in type(call.operation).__name__:
        varies &= ~np.any([part == 0 for part in constants], axis=0)
    if varies.all():
        return np.full(shape, np.nan)

    def number(leaf):
        if not isinstance(leaf, Channels):
            return leaf
        return keras.ops.convert_to_tensor(np.nan_to_num(leaf.constants).astype("float32"))

    args, kwargs = keras.tree.map_structure(number, (args, kwargs))
    # Not by `__call__`, which would add an activity regularizer's loss to the user's layer.
    made = keras.ops.convert_to_numpy(call.operation.call(*args, **kwargs)).astype("float64")
    return np.where(varies, np.nan, np.broadcast_to(made, shape))


def _aligned(array, rank):
    return array.reshape((1,) * (rank - array.ndim) + array.shape)


def _has_several(value):
    """Whether a value is an array, or a list, of more than one number."""
    if isinstance(value, list | tuple):
        leaves = keras.tree.flatten(value)
        return len(leaves) > 1 and all(map(is_number, leaves))
    return is_array(value) and np.size(value) > 1


def _has_numbers(args):
    """Whether a list of numbers is among the arguments."""
    return any(
        isinstance(part, list | tuple)
        and len(part) > 1
        and not all(isinstance(leaf, Channels) for leaf in keras.tree.flatten(part))
        for part in args
    )
