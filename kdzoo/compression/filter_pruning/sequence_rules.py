"""How channels pass through recurrent layers, attention and embeddings.

A rule is a function of the `Coupling`, a `Call`, the list of the `Channels` of its inputs and its
arguments and keyword arguments, with `Channels` among them, to the `Channels` of its outputs, one
or a list; it raises `NotUnderstoodError`, before it notes anything, where it cannot follow them.
"""

from typing import Any

import keras
import numpy as np

from kdzoo.compression.filter_pruning.channels import (
    Channels,
    NotUnderstoodError,
    fixed,
    lying_along,
    matter,
)
from kdzoo.compression.filter_pruning.coupling import Coupling, count_left
from kdzoo.graph.calls import Call

_GATES = {"LSTM": 4, "GRU": 3, "SimpleRNN": 1}


def recurrent(
    coupling: Coupling, call: Call, inputs: list, args: Any, kwargs: Any
) -> list[Channels]:
    """`LSTM`, `GRU`, `SimpleRNN`: the units of the state are channels, which all gates have."""
    layer: Any = call.operation
    if len(args) > 2 or isinstance(kwargs.get("mask"), Channels):
        raise NotUnderstoodError("it is called with a mask")
    read = _read(inputs[0], f"{call.path!r} reads a constant in it", coupling)
    states = [state.along(-1)[0] for state in inputs[1:]]
    units = _units(coupling, layer, call, "", layer, read)
    for state in states:
        coupling.unite(units, state, f"{call.path!r} starts from it")
    coupling.change(layer, units=count_left(units))
    return [_with_units(tensor, units) for tensor in call.outputs]


def bidirectional(
    coupling: Coupling, call: Call, inputs: list, args: Any, kwargs: Any
) -> list[Channels]:
    """`Bidirectional` around a recurrent layer."""
    wrapper: Any = call.operation
    parts = {"layer": wrapper.forward_layer, "backward_layer": wrapper.backward_layer}
    if any(type(part).__name__ not in _GATES for part in parts.values()):
        raise NotUnderstoodError("kdzoo does not know the layer in it")
    if len(inputs) > 1 or len(call.outputs) > 1 or wrapper.merge_mode is None:
        raise NotUnderstoodError("it takes or gives several tensors")
    read = _read(inputs[0], f"{call.path!r} reads a constant in it", coupling)
    found = []
    for name, part in parts.items():
        prefix = {"layer": "forward_layer.", "backward_layer": "backward_layer."}[name]
        found.append(_units(coupling, wrapper, call, prefix, part, read))
        coupling.change(wrapper, **{name: _serialized(part, found[-1])})
    # Where both are side by side, too, Keras takes it that they are as many.
    coupling.unite(found[0], found[1], f"{call.path!r} joins it with what stays")
    units = np.concatenate(found) if wrapper.merge_mode == "concat" else found[0]
    return [_with_units(call.outputs[0], units)]


def attention(
    coupling: Coupling, call: Call, inputs: list, args: Any, kwargs: Any
) -> list[Channels]:
    """`MultiHeadAttention`: whole heads, and the channels of its output."""
    layer: Any = call.operation
    given = dict(zip(("query", "value", "key"), args, strict=False)) | kwargs
    query, value = given["query"], given["value"]
    read = {"query": query, "key": given.get("key"), "value": value}
    read["key"] = value if read["key"] is None else read["key"]
    others = [x for x in inputs if not any(x is known for known in read.values())]
    is_gated = layer.get_config().get("use_gate")
    if is_gated or len(query.shape) != 3 or len(layer.output_dense.kernel.shape) != 3:
        raise NotUnderstoodError("kdzoo knows attention over one axis alone, without a gate")
    if any(x.ids.any() for x in others):
        raise NotUnderstoodError("a mask has channels")
    reason = f"{call.path!r} reads a constant in it"
    read_ids = {name: _read(x, reason, coupling) for name, x in read.items()}
    heads = coupling.new(layer, f"{call.path}/heads", layer.num_heads, "heads")
    outputs = coupling.new(layer, call.path, layer.output_dense.kernel.shape[-1])
    coupling.goes_one_by_one(heads)
    for name, ids in read_ids.items():
        coupling.has(layer, call.path, f"{name}_dense.kernel", 0, ids, "in")
        coupling.has(layer, call.path, f"{name}_dense.kernel", 1, heads, "out")
        coupling.has(layer, call.path, f"{name}_dense.bias", 0, heads, "through")
        coupling.multiplies(layer, f"{name}_dense.kernel", read[name].shape[1:-1])
    coupling.has(layer, call.path, "output_dense.kernel", 0, heads, "in")
    coupling.has(layer, call.path, "output_dense.kernel", 2, outputs, "out")
    coupling.has(layer, call.path, "output_dense.bias", 0, outputs, "through")
    coupling.multiplies(layer, "output_dense.kernel", query.shape[1:-1])
    _scores(coupling, layer, query, value)
    coupling.change(layer, num_heads=count_left(heads), output_shape=count_left(outputs))
    if len(call.outputs) > 1:
        coupling.freeze(heads, f"{call.path!r} gives the scores of each head")
    return [_with_units(call.outputs[0], outputs), *(fixed(t.shape) for t in call.outputs[1:])]


def embedding(coupling: Coupling, call: Call, inputs: list, args: Any, kwargs: Any) -> Channels:
    """`Embedding`: the numbers of each word."""
    layer: Any = call.operation
    if getattr(layer, "lora_enabled", False) or getattr(layer, "quantization_mode", None):
        raise NotUnderstoodError("its table is held in parts")
    outputs = coupling.new(layer, call.path, layer.output_dim)
    coupling.has(layer, call.path, "embeddings", 1, outputs, "out")
    coupling.change(layer, output_dim=count_left(outputs))
    return _with_units(call.outputs[0], outputs)


def _scores(coupling, layer, query, value):
    """Notes the products of queries with keys, and of scores with values, of each head."""
    lengths = query.shape[1], value.shape[1]
    if None not in lengths:
        width = layer.key_dim + layer.value_dense.kernel.shape[-1]
        macs = layer.num_heads * int(np.prod(lengths)) * width
        coupling.multiplies_along(layer, "query_dense.kernel", 1, macs)


def _units(coupling, owner, call, prefix, layer, read):
    """The numbers of a recurrent layer's units, which all of its weights have along an axis."""
    path = call.path if owner is layer else f"{call.path}/{layer.name}"
    units = coupling.new(owner, path, layer.units, prefix)
    gates = np.tile(units, _GATES[type(layer).__name__])
    steps = call.inputs[0].shape[1:2]
    cell = f"{prefix}cell."
    coupling.has(owner, call.path, f"{cell}kernel", 0, read, "in")
    coupling.has(owner, call.path, f"{cell}kernel", 1, gates, "out")
    coupling.has(owner, call.path, f"{cell}recurrent_kernel", 0, units, "in")
    coupling.has(owner, call.path, f"{cell}recurrent_kernel", 1, gates, "out")
    coupling.has(owner, call.path, f"{cell}bias", -1, gates, "through")
    coupling.multiplies(owner, f"{cell}kernel", steps)
    coupling.multiplies(owner, f"{cell}recurrent_kernel", steps)
    return units


def _read(x, reason, coupling):
    """The numbers of channels that a layer reads which has nothing to hold constants in."""
    ids, constants = x.along(-1)
    coupling.freeze(ids[matter(constants)], reason)
    return ids


def _serialized(layer, units):
    """The function of what stays to the configuration of a layer in another one."""

    def left(stays):
        config = keras.saving.serialize_keras_object(layer)
        config["config"]["units"] = int(stays[units].sum())
        config.pop("build_config", None)  # It would be built for as many inputs as there were.
        return config

    return left


def _with_units(tensor, ids):
    return lying_along(tensor.shape, len(tensor.shape) - 1, ids, np.full(len(ids), np.nan))
