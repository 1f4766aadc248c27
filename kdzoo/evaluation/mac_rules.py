"""How many multiply-accumulates a layer or an operation of Keras makes, from shapes alone."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Sizes = tuple[int, ...]


def _positions(tensor_shape, channels):
    """Returns the number of places at which a layer is applied, for either data format."""
    return math.prod(tensor_shape[1:]) // channels


def _conv(layer, inputs, outputs):
    """Every output position takes each of the kernel's products; a group sees its own channels."""
    return _positions(outputs, layer.filters) * math.prod(layer.kernel.shape)


def _depthwise(layer, inputs, outputs):
    """Every output value takes one product for each place of the window."""
    return math.prod(outputs[1:]) * math.prod(layer.kernel_size)


def _separable(layer, inputs, outputs):
    """A depthwise and a pointwise convolution at the same output positions."""
    products = math.prod(layer.depthwise_kernel.shape) + math.prod(layer.pointwise_kernel.shape)
    return _positions(outputs, layer.filters) * products


def _transposed(layer, inputs, outputs):
    """Every input position spreads through each of the kernel's products."""
    return _positions(inputs, layer.kernel.shape[-1]) * math.prod(layer.kernel.shape)


def _dense(layer, inputs, outputs):
    """Every vector along the last axis meets the whole matrix."""
    return _positions(outputs, layer.units) * math.prod(layer.kernel.shape)


def _recurrent(layer, inputs, outputs):
    """At every time step an input and a state meet the kernels of all gates."""
    return inputs[1] * sum(math.prod(layer.cell.weights[place].shape) for place in (0, 1))


LAYERS: dict[str, Callable[[Any, Sizes, Sizes], int]] = {
    "BaseConv": _conv,
    "BaseDepthwiseConv": _depthwise,
    "BaseSeparableConv": _separable,
    "BaseConvTranspose": _transposed,
    "Dense": _dense,
    "LSTM": _recurrent,
    "GRU": _recurrent,
    "SimpleRNN": _recurrent,
}
"""Name of a layer's class -> function of the layer and the shapes of its inputs and outputs."""


def additive_scores(layer: Any, inputs: Sequence[Any]) -> int:
    """Returns the MACs of `AdditiveAttention`'s scores: a scale times, and summed over, features.

    Args:
        layer: The layer.
        inputs: Its query and value, tensors `(batch, positions, features)`.
    """
    query, value = (tuple(tensor.shape) for tensor in inputs[:2])
    return query[1] * value[1] * query[2] if layer.use_scale else 0


# Operations: functions of the shape of the result and of the arguments.


def _matmul(result, x1, x2):
    return math.prod(result) * np.shape(x1)[-1]


def _dot(result, x1, x2):
    is_product = len(np.shape(x1)) and len(np.shape(x2))
    return math.prod(result) * np.shape(x1)[-1] if is_product else 0


def _vdot(result, x1, x2):
    return math.prod(np.shape(x1))


def _tensordot(result, x1, x2, axes=2):
    if isinstance(axes, int):
        axes = tuple(range(len(np.shape(x1)) - axes, len(np.shape(x1))))
    else:
        axes = axes[0] if isinstance(axes[0], list | tuple) else axes[:1]
    return math.prod(result) * math.prod(np.shape(x1)[axis] for axis in axes) if axes else 0


def _einsum(result, subscripts, *operands, **options):
    """Operands meet one after another; labels that nothing needs any more are summed over."""
    taken, output, sizes = _labels(subscripts, [tuple(np.shape(operand)) for operand in operands])
    total, current = 0, set(taken[0])
    for place, labels in enumerate(taken[1:], 1):
        met = current | set(labels)
        current = met & {*output, *(label for later in taken[place + 1 :] for label in later)}
        total += math.prod(sizes[label] for label in met) if met - current else 0
    return total


def _labels(subscripts, shapes):
    """The labels of each operand and of the result, those of an ellipsis numbered, and sizes."""
    before, arrow, output = subscripts.replace(" ", "").partition("->")
    terms = before.split(",")
    pairs = list(zip(terms, shapes, strict=True))
    widest = max(len(shape) - len(term.replace("...", "")) for term, shape in pairs)
    taken, sizes = [], {}
    for term, shape in pairs:
        hidden = len(shape) - len(term.replace("...", ""))
        labels = _spelled(term, range(widest - hidden, widest))
        taken.append(labels)
        for label, size in zip(labels, shape, strict=True):
            sizes[label] = max(size, sizes.get(label, 1))
    if not arrow:
        once = sorted(set(before) - set(",."), key=before.index)
        output = ("..." if "..." in before else "") + "".join(
            label for label in once if before.count(label) == 1
        )
    return taken, _spelled(output, range(widest)), sizes


def _spelled(term, hidden):
    """The labels of a term, with numbers for what its ellipsis stands for."""
    first, _, last = term.partition("...")
    return [*first, *(hidden if "..." in term else ()), *last]


def _attention(result, query, key, value, *args, **options):
    """The scores, and the sum of the values, at each position of the query and each head."""
    _, positions, heads, width = np.shape(query)
    return np.shape(query)[0] * positions * heads * np.shape(key)[1] * (width + np.shape(value)[-1])


def _convolution(result, inputs, kernel, *args, **options):
    return math.prod(result) // np.shape(kernel)[-1] * math.prod(np.shape(kernel))


def _depthwise_convolution(result, inputs, kernel, *args, **options):
    return math.prod(result) * math.prod(np.shape(kernel)[:-2])


def _separable_convolution(result, inputs, depthwise, pointwise, *args, **options):
    products = math.prod(np.shape(depthwise)) + math.prod(np.shape(pointwise))
    return math.prod(result) // np.shape(pointwise)[-1] * products


def _transposed_convolution(result, inputs, kernel, *args, **options):
    return math.prod(np.shape(inputs)) // np.shape(kernel)[-1] * math.prod(np.shape(kernel))


OPERATIONS: dict[str, Callable[..., int]] = {
    "matmul": _matmul,
    "dot": _dot,
    "inner": _dot,
    "vdot": _vdot,
    "tensordot": _tensordot,
    "einsum": _einsum,
    "dot_product_attention": _attention,
    "conv": _convolution,
    "depthwise_conv": _depthwise_convolution,
    "separable_conv": _separable_convolution,
    "conv_transpose": _transposed_convolution,
}
"""Name of a function of `keras.ops` -> function of the result's shape and of its arguments."""
