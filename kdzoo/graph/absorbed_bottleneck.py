"""Linear bottlenecks multiplied into the layer that follows them."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from kdzoo.graph.calls import Call, graph_of, nodes_within
from kdzoo.graph.keras_internals import Node, functional_of, nodes_of
from kdzoo.graph.surgery import compile_like, copy_of, rebuild


def absorb_bottleneck(model: keras.Model) -> keras.Model:
    """Returns a copy of a model in which dense layers without activation are part of the next one.

    Two dense layers of which the first has no activation are one linear map. The layer that takes
    their place has the name, activation and settings of the second; its kernel is the product of
    the two kernels, its bias `b₁ K₂ + b₂`. A bottleneck makes a wide layer quick to train; without
    it a network has a layer less. It has more parameters if the bottleneck is narrower than
    `inputs · outputs / (inputs + outputs)`. All such pairs are absorbed, also those in nested
    models.

    Args:
        model: The functional or sequential `keras.Model`; it is not changed.

    Returns:
        A `keras.Model` of equal outputs, up to rounding.

    Raises:
        ValueError: If the model has no graph, or no dense layer without activation that is followed
            by a dense layer and by nothing else, each of them called once.

    Example:

    ```python
    student = kdzoo.create("shallow_4000")
    ...
    student = kdzoo.models.absorb_bottleneck(student)
    ```

    Reference: Ba & Caruana, "Do Deep Nets Really Need to be Deep?", 2014, arXiv:1312.6184,
    section 2.3.
    """
    first_of = _pairs(model)
    absorbed = {*first_of.values()}

    def replace(layer: keras.Operation, path: str) -> tuple[keras.layers.Layer, list] | None:
        return _product(layer, first_of) if layer in first_of and layer not in absorbed else None

    def perform(call: Call, layer: keras.Operation, args: tuple, kwargs: dict) -> Any:
        if call.operation in absorbed:
            return args[0] if args else kwargs["inputs"]
        return layer(*args, **kwargs)

    return compile_like(rebuild(model, replace, perform), model)


def _pairs(model):
    """Second layer -> the linear one before it that it can absorb, or raises if there is none."""
    calls = Counter(node.operation for node in nodes_within(model))
    found, obstacles = {}, []
    for first, second, uses in _followed(model):
        shared = [layer for layer in (first, second) if calls[layer] > 1]
        if shared:
            obstacles.append(f"{shared[0].name!r} is called {calls[shared[0]]} times")
        elif uses > 1:
            obstacles.append(f"the output of {first.name!r} also goes elsewhere")
        else:
            found[second] = first
    if not found:
        reason = obstacles[0] if obstacles else "no dense layer without activation is before one"
        raise ValueError(
            "Expected a dense layer without activation whose output goes to one other dense layer, "
            f"each called once. Received: {model.name!r}, in which {reason}"
        )
    return found


def _followed(model: keras.Model) -> Iterator[tuple[keras.Operation, keras.Operation, int]]:
    """Yields linear dense layers, a dense layer that follows, and how often the output is used.

    Args:
        model: The model; those nested in it are looked through, too.
    """
    graph = graph_of(model)
    nodes = nodes_of(graph)
    uses = Counter(id(tensor) for node in nodes for tensor in node.inputs)
    uses.update(id(tensor) for tensor in graph.outputs)
    makers: dict[int, Node] = {id(tensor): node for node in nodes for tensor in node.outputs}
    for node in nodes:
        if functional_of(node.operation) is not None:
            yield from _followed(node.operation)
        maker = makers.get(id(node.inputs[0])) if _is_plain(node.operation) else None
        if maker is not None and _is_plain(maker.operation) and _is_linear(maker.operation):
            yield maker.operation, node.operation, uses[id(node.inputs[0])]


def _is_plain(layer):
    """Whether a layer is a dense one whose kernel is all that it multiplies by."""
    return type(layer) is keras.layers.Dense and not (
        layer.lora_enabled or layer.quantization_mode is not None
    )


def _is_linear(layer):
    return layer.activation is keras.activations.linear and layer.activity_regularizer is None


def _product(layer, first_of):
    """The layer that takes the place of a dense one and all before it, and its weights."""
    kernel, bias = _kernel_and_bias(layer)
    has_bias, first = layer.use_bias, layer
    while first in first_of:
        first = first_of[first]
        before, bias_before = _kernel_and_bias(first)
        bias = bias + bias_before @ kernel
        kernel = before @ kernel
        has_bias = has_bias or first.use_bias
    return copy_of(layer, use_bias=has_bias), [kernel, bias] if has_bias else [kernel]


def _kernel_and_bias(layer):
    """Both in float32; zeros for a bias that a layer has not."""
    kernel, *biases = (weight.astype("float32") for weight in layer.get_weights())
    return kernel, biases[0] if biases else np.zeros(kernel.shape[1], "float32")
