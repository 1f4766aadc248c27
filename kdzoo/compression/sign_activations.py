"""Signs in the place of the activations that binary layers read: BinaryNet."""

from collections.abc import Callable, Collection, Iterator
from typing import Any

import keras
from keras import layers, ops

from kdzoo.compression.binary_layers import signs, through
from kdzoo.graph.calls import graph_of, nodes_within
from kdzoo.graph.keras_internals import Node, functional_of
from kdzoo.graph.layer_chains import Chain
from kdzoo.graph.surgery import copy_of

_FUNCTIONS = tuple(
    getattr(keras.activations, name)
    for name in (
        *("relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "mish"),
        *("softplus", "softsign", "tanh", "hard_tanh", "hard_silu"),
    )
)
_LAYERS = (layers.ReLU, layers.LeakyReLU, layers.ELU)
_OPERATIONS = ("Relu", "Relu6", "LeakyRelu", "Elu", "Selu", "Celu", "Gelu", "Silu", "Tanh")
# Layers that give the numbers that they are given, or some of them.
_PASSING = (
    *(layers.Flatten, layers.Reshape, layers.Permute, layers.RepeatVector, layers.Concatenate),
    *(layers.MaxPooling1D, layers.MaxPooling2D, layers.MaxPooling3D, layers.Identity),
    *(layers.GlobalMaxPooling1D, layers.GlobalMaxPooling2D, layers.GlobalMaxPooling3D),
    *(layers.Cropping1D, layers.Cropping2D, layers.ZeroPadding1D, layers.ZeroPadding2D),
    *(layers.Dropout, layers.SpatialDropout1D, layers.SpatialDropout2D),
)


@keras.saving.register_keras_serializable("kdzoo")
def binary_sign(x: Any) -> Any:
    """Returns 1 where x is at least 0, else -1; the gradient is that of clip(x, -1, 1).

    Args:
        x: Tensor of any shape.

    Reference: Courbariaux et al., "Binarized Neural Networks", 2016, arXiv:1602.02830, section 1.3.
    """
    return through(signs(x), ops.clip(x, -1.0, 1.0))


def activations_read_by(
    model: keras.Model, readers: Collection[keras.layers.Layer]
) -> tuple[list[keras.Operation], list[keras.layers.Layer]]:
    """Returns what gives layers their inputs through an activation, and the layers without one.

    Args:
        model: A functional or built sequential `keras.Model`; nested models are entered.
        readers: The layers.

    Returns:
        The layers and operations whose activation can be a sign, each once; and the readers that
        get anything else, such as the images.
    """
    sources = _Sources(model)
    found: dict[int, keras.Operation] = {}
    real = []
    for layer in readers:
        calls = [node for node in sources.nodes if node.operation is layer]
        makers = [maker for node in calls for maker in sources.of(node.inputs[0])]
        if None in makers:
            real.append(layer)
        found.update({id(maker): maker for maker in makers if maker is not None})
    return list(found.values()), real


class _Sources:
    """What the numbers of a tensor come from."""

    def __init__(self, model: keras.Model) -> None:
        self.nodes: list[Node] = list({id(n): n for n in nodes_within(model)}.values())
        self._makers = {id(t): node for node in self.nodes for t in node.outputs}
        self._given: dict[int, list[keras.KerasTensor]] = {}
        for node in self.nodes:
            if functional_of(node.operation) is None:
                continue
            inside = graph_of(node.operation)
            for inner, outer in zip(inside.inputs, node.inputs, strict=False):
                if inner is not outer:
                    self._given.setdefault(id(inner), []).append(outer)
            for outer, inner in zip(node.outputs, inside.outputs, strict=True):
                self._given[id(outer)] = [inner]

    def of(self, tensor: keras.KerasTensor) -> Iterator[keras.Operation | None]:
        """Yields the operations whose activations give the numbers; None for anything else."""
        waiting, seen = [tensor], set()
        while waiting:
            tensor = waiting.pop()
            if id(tensor) in seen:
                continue
            seen.add(id(tensor))
            node = self._makers.get(id(tensor))
            if id(tensor) in self._given:
                waiting += self._given[id(tensor)]
            elif node is not None and can_be_sign(node.operation):
                yield node.operation
            elif node is not None and node.inputs and _hands_on(node.operation):
                waiting += node.inputs
            else:
                yield None


def can_be_sign(operation: keras.Operation) -> bool:
    """Returns whether a layer or operation ends in an activation that a sign can stand for."""
    if isinstance(operation, keras.layers.Layer):
        return type(operation) in _LAYERS or getattr(operation, "activation", None) in _FUNCTIONS
    return type(operation).__name__ in _OPERATIONS


def _hands_on(operation):
    is_linear = getattr(operation, "activation", None) is keras.activations.linear
    return type(operation) in _PASSING or (type(operation) is layers.Activation and is_linear)


def with_sign(operation: keras.Operation) -> Chain:
    """Returns what takes the place of a layer or operation, with a sign for its activation."""
    if hasattr(operation, "activation") and type(operation) is not layers.Activation:
        return [(copy_of(operation, activation=binary_sign), operation.get_weights())]
    dtype = {"dtype": operation.dtype_policy} if isinstance(operation, layers.Layer) else {}
    return [(layers.Activation(binary_sign, name=operation.name, **dtype), [])]


def is_sign(layer: keras.layers.Layer) -> bool:
    """Returns whether a layer ends in a sign of `binarize`."""
    return getattr(layer, "activation", None) is binary_sign


def plain_sign(name: str, dtype: Any) -> list[tuple[Callable[..., Any], list]]:
    """Returns operations of Keras that compute a sign, and a layer of a name that hands it on."""
    return [(_signs_of, []), (layers.Activation("linear", name=name, dtype=dtype), [])]


def _signs_of(x):
    """The sign by operations that every file format and backend has."""
    is_positive = ops.cast(ops.greater_equal(x, 0), x.dtype)
    return ops.subtract(ops.multiply(is_positive, 2), 1)
