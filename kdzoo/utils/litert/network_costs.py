"""What the network in a LiteRT file costs: its constants, and the products of one pass."""

import dataclasses
import math
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np

from kdzoo.utils.litert import trial_process

# Operators that multiply in another way, or run other graphs: their products are not counted.
_NOT_COUNTED = ("MATMUL", "LSTM", "RNN", "CONV_3D", "SVDF", "FFT", "STABLEHLO", "CUSTOM")
_CONTROL = ("WHILE", "IF", "CALL", "CALL_ONCE")


@dataclasses.dataclass(frozen=True)
class NetworkCosts:
    """What the network in a LiteRT file costs.

    Attributes:
        parameters: Number of its constants that are floats or quantized: kernels, biases, and
            factors; what is alike is stored, and counted, once. A converter folds normalizations
            into kernels, so there are fewer than in Keras.
        zeros: Fraction of zeros among its kernels, constants with more than one axis. In int8,
            small weights are rounded to zero, too.
        macs: Multiply-accumulates for one sample, as `kdzoo.evaluation.count_macs` has them; None
            where an operator multiplies whose products are not counted.
    """

    parameters: int
    zeros: float
    macs: int | None


def network_costs(content: bytes, subgraph: int = 0) -> NetworkCosts | None:
    """Returns what a network costs, or None in versions of LiteRT that cannot read a flatbuffer.

    Args:
        content: The bytes of a network that the interpreter has taken.
        subgraph: The number of the graph whose multiply-accumulates are counted.
    """
    _, schema = trial_process.litert(with_schema=True)
    if schema is None:
        return None
    model = schema.Model.GetRootAs(content, 0)
    kernels = elements = nonzero = 0
    for size, axes, count in _constants(schema, model):
        elements += size
        if axes > 1:
            kernels, nonzero = kernels + size, nonzero + count
    zeros = 1 - nonzero / kernels if kernels else 0.0
    return NetworkCosts(elements, zeros, _macs(schema, model, subgraph))


def _constants(schema: ModuleType, model: Any) -> Iterator[tuple[int, int, int]]:
    """Elements, number of axes and elements that are not zero, of each constant, each once."""
    types = {
        schema.TensorType.FLOAT32: np.float32,
        schema.TensorType.FLOAT16: np.float16,
        schema.TensorType.INT4: np.uint8,  # Two in a byte.
        schema.TensorType.INT8: np.int8,
        schema.TensorType.UINT8: np.uint8,
        schema.TensorType.INT16: np.int16,
        schema.TensorType.INT32: np.int32,
        schema.TensorType.INT64: np.int64,
    }
    floats = (schema.TensorType.FLOAT32, schema.TensorType.FLOAT16)
    seen = set()
    for graph in map(model.Subgraphs, range(model.SubgraphsLength())):
        for tensor in map(graph.Tensors, range(graph.TensorsLength())):
            buffer, known = model.Buffers(tensor.Buffer()), tensor.Quantization()
            is_quantized = known is not None and known.ScaleLength() > 0
            is_number = tensor.Type() in floats or (tensor.Type() in types and is_quantized)
            # A shape is of integers without a scale, a factor such as 1/255 has no axes.
            is_constant = buffer.DataLength() and tensor.ShapeLength() and is_number
            if not is_constant or tensor.Buffer() in seen:
                continue
            seen.add(tensor.Buffer())
            values = buffer.DataAsNumpy().view(types[tensor.Type()])
            if tensor.Type() == schema.TensorType.INT4:
                values = np.stack([values & 15, values >> 4])
            zero = known.ZeroPoint(0) if is_quantized and known.ZeroPointLength() else 0
            # Of a sparse tensor the buffer holds what is not zero.
            size = math.prod(_shape(tensor))
            yield size, tensor.ShapeLength(), int(np.count_nonzero(values != zero))


def _macs(schema: ModuleType, model: Any, subgraph: int) -> int | None:
    """The multiply-accumulates of a subgraph for one sample."""
    names = {code: name for name, code in vars(schema.BuiltinOperator).items() if name[0] != "_"}
    graph, total = model.Subgraphs(subgraph), 0
    for operator in map(graph.Operators, range(graph.OperatorsLength())):
        found = model.OperatorCodes(operator.OpcodeIndex())
        name = names.get(max(found.BuiltinCode(), found.DeprecatedBuiltinCode()), "CUSTOM")
        if name in _CONTROL or any(part in name for part in _NOT_COUNTED):
            return None
        if name in _PRODUCTS:
            inputs = [
                _shape(graph.Tensors(operator.Inputs(i))) if operator.Inputs(i) >= 0 else ()
                for i in range(operator.InputsLength())
            ]
            total += _PRODUCTS[name](inputs, _shape(graph.Tensors(operator.Outputs(0))))
    first = _shape(graph.Tensors(graph.Inputs(0)))
    return total // max(1, first[0] if first else 1)


# Operator -> its products, from the shapes of its inputs and its output.
_PRODUCTS = {
    "CONV_2D": lambda inputs, output: math.prod(output) * math.prod(inputs[1][1:]),
    "DEPTHWISE_CONV_2D": lambda inputs, output: math.prod(output) * math.prod(inputs[1][1:3]),
    "FULLY_CONNECTED": lambda inputs, output: math.prod(output) * inputs[1][-1],
    "TRANSPOSE_CONV": lambda inputs, output: math.prod(inputs[2]) * math.prod(inputs[1][:3]),
}


def _shape(tensor: Any) -> tuple[int, ...]:
    return tuple(map(tensor.Shape, range(tensor.ShapeLength())))
