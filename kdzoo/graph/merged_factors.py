"""Chains of layers of a low rank, multiplied into single layers again."""

import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from kdzoo.graph.calls import Call, graph_of, nodes_within
from kdzoo.graph.keras_internals import Node, functional_of
from kdzoo.graph.kernel_factors import product_of
from kdzoo.graph.surgery import compile_like, copy_of, rebuild

FACTORED = (keras.layers.Dense, keras.layers.Conv2D)
"""The layers of which chains are made, and that these consist of."""
FACTOR = re.compile(r"(.+)_factor_([1-9])")
"""The name of a layer of a chain but its last, which has the first part for its name."""


def merge_factors(model: keras.Model) -> keras.Model:
    """Multiplies the chains that `factorize` made into single layers again.

    Args:
        model: A functional or built sequential `keras.Model`, which may have been trained since.
            It is not changed.

    Returns:
        A new model that computes what the model does, up to rounding, compiled as it was; a copy
        where there is no chain.

    Raises:
        ValueError: If the model has no graph, or a layer of a chain got a bias, an activation or
            LoRA, is quantized by Keras, or is used elsewhere.

    Example:

    ```python
    merged = kdzoo.compression.merge_factors(factorized)
    ```
    """
    chains = _chains(model)
    skipped = {layer for chain in chains.values() for layer in chain[:-1]}

    def replace(layer: keras.Operation, path: str) -> Any:
        return _merged(chains[layer]) if layer in chains else None

    def perform(call: Call, layer: keras.Operation, args: tuple, kwargs: dict) -> Any:
        if call.operation in skipped:
            return args[0] if args else kwargs["inputs"]
        return layer(*args, **kwargs)

    return compile_like(rebuild(model, replace, perform), model)


def _chains(model: keras.Model) -> dict[keras.Operation, list[keras.Operation]]:
    """Last layer of a chain -> its layers, in the order in which they are called."""
    nodes = {id(node.outputs[0]): node for node in nodes_within(model)}
    makers = {id(tensor): node for node in nodes.values() for tensor in node.outputs}
    uses = Counter(id(tensor) for node in nodes.values() for tensor in node.inputs)
    graphs = [model, *(n.operation for n in nodes.values() if functional_of(n.operation))]
    uses.update(id(tensor) for graph in graphs for tensor in graph_of(graph).outputs)
    chains, calls = {}, {id(node) for node in nodes.values()}
    for node in nodes.values():
        chain = _chain_to(node, lambda tensor: makers.get(id(tensor)))
        if len(chain) > 1:
            for link in chain[:-1]:
                _check_link(link, uses[id(link.outputs[0])])
            _check_kernel(node.operation)
            chains[node.operation] = [link.operation for link in chain]
            calls.difference_update(id(link) for link in chain[:-1])
    firsts = {link for chain in chains.values() for link in chain[:-1]}
    for node in nodes.values():
        if node.operation in firsts and id(node) in calls:
            raise _refused(node.operation, "which is also called elsewhere")
    return chains


def _chain_to(last: Node, maker_of: Callable[[Any], Node | None]) -> list[Node]:
    """The calls of a chain's layers that end in one; this alone where it ends none."""
    chain = [last]
    while type(last.operation) in FACTORED and chain[0].inputs:
        before = maker_of(chain[0].inputs[0])
        named = FACTOR.fullmatch(before.operation.name) if before is not None else None
        if before is None or named is None or named[1] != last.operation.name:
            break
        chain.insert(0, before)
    return chain


def _check_link(node, uses):
    """Raises unless a factor is linear and only the next layer takes what it gives."""
    layer = node.operation
    if type(layer) not in FACTORED:
        raise _refused(layer, f"a {type(layer).__name__}")
    if layer.use_bias or layer.activation is not keras.activations.linear:
        raise _refused(layer, "with a bias or an activation")
    if uses != 1:
        raise _refused(layer, "whose output also goes elsewhere")
    _check_kernel(layer)


def _check_kernel(layer):
    """Raises unless the kernel is all that a layer of a chain multiplies by."""
    if layer.quantization_mode is not None or layer.lora_enabled:
        raise _refused(layer, "quantized by Keras, or with LoRA")


def _refused(layer, reason):
    return ValueError(
        "Expected chains as `factorize` makes them, of linear layers without bias. Received: "
        f"{layer.name!r}, {reason}"
    )


def _merged(chain):
    """One layer for a chain, and its weights."""
    last = chain[-1]
    old, *bias = last.get_weights()
    kernels = [layer.get_weights()[0].astype("float64") for layer in chain]
    kernel = product_of(kernels).astype(old.dtype)
    if kernel.ndim == 2:
        return copy_of(last), [kernel, *bias]
    changes = {
        name: tuple(
            int(np.prod([getattr(layer, name)[axis] for layer in chain])) for axis in (0, 1)
        )
        for name in ("strides", "dilation_rate")
    }
    return copy_of(last, kernel_size=kernel.shape[:2], **changes), [kernel, *bias]
