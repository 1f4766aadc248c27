"""Layers with kernels, chains of layers that take their places, and the report of it."""

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from kdzoo.graph.calls import Call, graph_of
from kdzoo.graph.keras_internals import functional_of, nodes_of
from kdzoo.graph.surgery import compile_like, rebuild
from kdzoo.utils import shown, unknown_name

Chain = Sequence[tuple[Any, Sequence[np.ndarray]]]
"""New layers, not built, in the order in which they are called, and the weights of each; before the
last there may be functions of a tensor, without weights."""


@dataclasses.dataclass(frozen=True)
class ReplacedLayer:
    """A layer in whose place there are others, or another.

    Attributes:
        path: Its name; in a nested model after the names of the models, joined by "/".
        method: How its kernel was approximated: `"svd"`, `"spatial"`, `"channel"`, `"tucker"` or
            `"separable"`.
        rank: The rank; (of inputs, of outputs) by `"tucker"`, the depth multiplier by
            `"separable"`.
        parameters_before: Numbers in its kernel.
        parameters_predicted: Numbers in the new kernels by the formula: (M + N) · rank of a matrix
            of M · N; by `"separable"` those before times depth multiplier · (1 / O + 1 / k²).
        parameters_after: Numbers in the new kernels, counted in the new model.
        weight_error: The Frobenius norm of what the kernel lost over that of the kernel.
    """

    path: str
    method: str
    rank: int | tuple[int, int]
    parameters_before: int
    parameters_predicted: int
    parameters_after: int
    weight_error: float


@dataclasses.dataclass(frozen=True)
class RankTrial:
    """A size that `factorize` tried on its way to an accuracy.

    Attributes:
        energy: The fraction of each kernel's sum of squares that was kept.
        parameters: Numbers in all weights of the model.
        accuracy: Its accuracy on the data, in [0, 1].
    """

    energy: float
    parameters: int
    accuracy: float


@dataclasses.dataclass(frozen=True)
class LowRankReport:
    """What `factorize` or `to_separable` made of a model.

    Attributes:
        layers: The layers that were replaced, in the order of the graph.
        left: Path of each other layer that has a kernel -> why it was left.
        parameters_before: Numbers in all weights of the model.
        parameters_after: Those of the new one.
        tried: What was tried where an accuracy was given, in that order.
    """

    layers: tuple[ReplacedLayer, ...]
    left: dict[str, str]
    parameters_before: int
    parameters_after: int
    tried: tuple[RankTrial, ...] = ()

    def __str__(self) -> str:
        numbers = f"{'before':>10} {'predicted':>10} {'after':>10}"
        lines = [f"{'layer':24} {'method':9} {'rank':>9} {numbers}  error"]
        lines += [
            f"{row.path:24} {row.method:9} {row.rank!s:>9} {row.parameters_before:10,} "
            f"{row.parameters_predicted:10,} {row.parameters_after:10,} {row.weight_error:6.3f}"
            for row in self.layers
        ]
        lines += [f"{path:24} left: {reason}" for path, reason in self.left.items()]
        total = f"{self.parameters_before:10,} {'':10} {self.parameters_after:10,}"
        lines.append(f"{'all weights':44} {total}")
        lines += [
            f"tried: {trial.parameters:,} at energy {trial.energy:.6f}, accuracy "
            f"{trial.accuracy:.4f}"
            for trial in self.tried
        ]
        return "\n".join(lines)


def layers_with_kernels(model: keras.Model) -> dict[str, keras.layers.Layer]:
    """Returns path -> layer of all layers of a graph that multiply by a weight, each once.

    Args:
        model: A functional or built sequential `keras.Model`; nested models are entered.

    Raises:
        ValueError: If the model has no graph.
    """
    found: dict[int, tuple[str, keras.layers.Layer]] = {}
    for path, layer in _walk(model, ""):
        if count_in_kernels([layer]):
            found.setdefault(id(layer), (path, layer))
    return dict(found.values())


def _walk(model: keras.Model, prefix: str) -> Iterator[tuple[str, keras.layers.Layer]]:
    for node in nodes_of(graph_of(model)):
        path = f"{prefix}{node.operation.name}"
        if functional_of(node.operation) is not None:
            yield from _walk(node.operation, f"{path}/")
        elif isinstance(node.operation, keras.layers.Layer):
            yield path, node.operation


def check_layers(
    layers: Any,
    known: Mapping[str, keras.layers.Layer],
    left: Mapping[str, str],
    name: str = "layers",
) -> list[str]:
    """Returns the paths of the layers that are to be replaced.

    Args:
        layers: What was given: paths, or None for all that can be.
        known: What `layers_with_kernels` returned.
        left: Path of each that cannot be replaced -> why.
        name: Name of the argument.

    Raises:
        ValueError: If it is no collection of paths, one of them does not exist or cannot be
            replaced, or none is given and none can be.
    """
    if layers is None:
        paths = [path for path in known if path not in left]
        if not paths:
            reasons = "; ".join(f"{path!r}, {why}" for path, why in [*left.items()][:3])
            raise ValueError(
                "Expected a model in which a layer can be replaced. Received: "
                f"{reasons or 'one without kernels'}"
            )
        return paths
    is_collection = isinstance(layers, Collection) and not isinstance(layers, str | bytes)
    if not is_collection or not len(layers) or not all(isinstance(path, str) for path in layers):
        raise ValueError(
            f"Expected {name} to be a collection of names of layers, with something in it, or "
            f"None. Received: {name}={shown(layers)}"
        )
    for path in layers:
        if path not in known:
            raise unknown_name("layer with a kernel", path, known)
        if path in left:
            raise ValueError(
                f"Expected layers that can be replaced. Received: {path!r}, {left[path]}"
            )
    return [path for path in known if path in layers]


def left_with_reasons(
    known: Collection[str], left: Mapping[str, str], paths: Collection[str]
) -> dict[str, str]:
    """Returns path -> why of all layers that are left, in the order of the graph.

    Args:
        known: The paths of all layers.
        left: Path of each that cannot be replaced -> why.
        paths: Those that are replaced.
    """
    rest = dict.fromkeys(known, "not among the layers that were named") | dict(left)
    return {path: why for path, why in rest.items() if path in left or path not in paths}


def why_left(layer: keras.layers.Layer, types: Collection[type]) -> str | None:
    """Returns why a layer's kernel cannot be approximated, or None if it can.

    Args:
        layer: The layer.
        types: The classes whose own layers can be; those of subclasses may compute anything.
    """
    if type(layer) not in types:
        names = " or ".join(one.__name__ for one in types)
        return f"a {type(layer).__name__}, no {names}"
    if getattr(layer, "groups", 1) > 1:
        return f"a convolution of {layer.groups} groups"
    if layer.quantization_mode is not None or layer.lora_enabled:
        return "quantized by Keras, or with LoRA"
    if layer.kernel_constraint is not None:
        return "with a constraint, which new kernels would not keep"
    if not np.isfinite(keras.ops.convert_to_numpy(layer.kernel).astype("float32")).all():
        return "with a weight that is not finite"
    return None


def with_chains(
    model: keras.Model, chains: Mapping[str, Chain], known: Mapping[str, keras.Operation]
) -> keras.Model:
    """Returns a model in which chains of layers take the places of some.

    Args:
        model: The model; it is not changed.
        chains: Path of a layer or operation -> the new layers.
        known: Path -> layer or operation, such as `layers_with_kernels` returned.
    """
    by_layer = {known[path]: chain for path, chain in chains.items()}

    def replace(layer: keras.Operation, path: str) -> Any:
        return by_layer[layer][-1] if layer in by_layer else None

    def perform(call: Call, layer: keras.Operation, args: tuple, kwargs: dict) -> Any:
        for first, _ in by_layer.get(call.operation, ())[:-1]:
            args, kwargs = (first(*args, **kwargs),), {}
        return layer(*args, **kwargs)

    made = compile_like(rebuild(model, replace, perform), model)
    for chain in by_layer.values():
        for layer, weights in chain[:-1]:
            if isinstance(layer, keras.layers.Layer):
                layer.set_weights(weights)
    return made


def count_in_kernels(layers: Collection[keras.layers.Layer]) -> int:
    """Returns the numbers in those weights of layers that have two dimensions or more."""
    weights = [weight.shape for layer in layers for weight in layer.weights]
    return sum(int(np.prod(shape)) for shape in weights if len(shape) > 1)
