"""What the integers inside a LiteRT file stand for, where its inputs or outputs are floats.

A file with an int8 body and float32 inputs begins with a QUANTIZE operator for each input and ends
with a DEQUANTIZE for each output. Scale and zero point stand at the integer side of these.
"""

from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np

from kdzoo.utils.litert import trial_process

Range = tuple[float, float, float]
"""The lowest and the highest value that integers stand for, and what one step of them is worth."""


def range_of(dtype: str, scale: float, zero_point: int) -> Range:
    """Returns the `Range` of integers.

    Args:
        dtype: NumPy name of their type.
        scale: A value is scale * (integer - zero_point).
        zero_point: The integer that stands for 0.0.
    """
    limits = np.iinfo(dtype)
    low, high = (float(scale * (limit - zero_point)) for limit in (limits.min, limits.max))
    return low, high, float(scale)


def ranges_inside(content: bytes) -> list[dict[int, Range]]:
    """Returns what the integers stand for that float32 inputs and outputs are converted to or from.

    Args:
        content: The bytes of a network that the interpreter has taken.

    Returns:
        For each subgraph: index of an input's or output's tensor -> `Range`. A tensor is left out
        if it is no float, an input too if an operator uses its floats. An empty list in versions of
        LiteRT that cannot read a flatbuffer.
    """
    _, schema = trial_process.litert(with_schema=True)
    if schema is None:
        return []
    model = schema.Model.GetRootAs(content, 0)
    graphs = _listed(model.Subgraphs, model.SubgraphsLength())
    return [_ranges_of(schema, model, graph) for graph in graphs]


def signatures_inside(content: bytes) -> dict[str, int]:
    """Returns which subgraph each signature runs.

    Args:
        content: The bytes of a network that the interpreter has taken.

    Returns:
        Name of a signature -> number of its subgraph, 0 is what runs where nobody names a
        signature. Empty in versions of LiteRT that cannot read a flatbuffer.
    """
    _, schema = trial_process.litert(with_schema=True)
    if schema is None:
        return {}
    model = schema.Model.GetRootAs(content, 0)
    found = _listed(model.SignatureDefs, model.SignatureDefsLength())
    return {
        (signature.SignatureKey() or b"").decode(): signature.SubgraphIndex() for signature in found
    }


def _ranges_of(schema: ModuleType, model: Any, graph: Any) -> dict[int, Range]:
    inputs = set(_listed(graph.Inputs, graph.InputsLength()))
    outputs = set(_listed(graph.Outputs, graph.OutputsLength()))
    # Of each input by its users, of each output by its maker.
    found: dict[int, list[Range | None]] = {}
    for operator in _listed(graph.Operators, graph.OperatorsLength()):
        code = model.OperatorCodes(operator.OpcodeIndex())
        code = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        taken = list(_listed(operator.Inputs, operator.InputsLength()))
        given = list(_listed(operator.Outputs, operator.OutputsLength()))
        for index in inputs.intersection(taken):
            is_end = code == schema.BuiltinOperator.QUANTIZE
            found.setdefault(index, []).append(_range(schema, graph, given[0]) if is_end else None)
        for index in outputs.intersection(given):
            is_end = code == schema.BuiltinOperator.DEQUANTIZE
            found.setdefault(index, []).append(_range(schema, graph, taken[0]) if is_end else None)
    return {
        index: _widest([known for known in ranges if known])
        for index, ranges in found.items()
        if None not in ranges and graph.Tensors(index).Type() == schema.TensorType.FLOAT32
    }


def _listed(get: Callable[[int], Any], length: int) -> Iterator[Any]:
    """The items of a vector of a flatbuffer."""
    return map(get, range(length))


def _range(schema: ModuleType, graph: Any, index: int) -> Range | None:
    """The `Range` of a tensor of integers with one scale; None for any other."""
    types = {
        schema.TensorType.INT8: "int8",
        schema.TensorType.UINT8: "uint8",
        schema.TensorType.INT16: "int16",
    }
    tensor = graph.Tensors(index)
    known = tensor.Quantization()
    if tensor.Type() not in types or known is None or known.ScaleLength() != 1:
        return None
    zero_point = known.ZeroPoint(0) if known.ZeroPointLength() else 0
    return range_of(types[tensor.Type()], known.Scale(0), int(zero_point))


def _widest(ranges):
    """The range that holds all of several, in the finest steps of them."""
    lows, highs, steps = zip(*ranges, strict=True)
    return min(lows), max(highs), min(steps)
