"""The tf_keras clone of a Keras 3 model: TF-MOT takes no other models."""

import dataclasses
import re
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from kdzoo.compression.tfmot import tf_keras_operations
from kdzoo.compression.tfmot.clone_agreement import check_agreement
from kdzoo.compression.tfmot.library import load_tf_keras
from kdzoo.compression.tfmot.tf_keras_layers import split_layer
from kdzoo.compression.tfmot.unsupported_layers import cannot_clone
from kdzoo.graph.calls import Call, Plan, graph_of, run_graph
from kdzoo.graph.keras_internals import maker_of, mask_of
from kdzoo.graph.taps import find_layer

_MERGES = (
    keras.layers.Add,
    keras.layers.Average,
    keras.layers.Concatenate,
    keras.layers.Maximum,
    keras.layers.Minimum,
    keras.layers.Multiply,
    keras.layers.Subtract,
)


@dataclasses.dataclass(frozen=True)
class TfKerasClone:
    """A tf_keras model that computes what a Keras 3 model computes.

    Attributes:
        model: The `tf_keras.Model`, functional, with flat lists of inputs and outputs.
        names: Path of a layer of the Keras 3 model ("stage1", "backbone/stage1") -> name of the
            clone's layer whose output is that layer's.
        sources: Name of a clone's layer with weights -> path of the layer whose weights it has.
        annotations: Name of a clone's layer that was marked for quantization -> how, or None.
        parts: Name of a clone's layer that is one of two -> the slice of the weights that it has.
        statistics: Path of an adapted `Normalization` -> its weights, which the clone has as
            constants.
    """

    model: Any
    names: dict[str, str]
    sources: dict[str, str]
    annotations: dict[str, Any]
    parts: dict[str, slice]
    statistics: dict[str, list[np.ndarray]]

    def originals(
        self, model: keras.Model, name: str, values: Callable[[keras.layers.Layer], list]
    ) -> list:
        """Returns what one of the clone's layers has of a layer of the Keras 3 model.

        Args:
            model: The Keras 3 model.
            name: Name of the clone's layer.
            values: Function from a layer to the list that is divided, such as its weights.
        """
        return values(find_layer(model, self.sources[name]))[self.parts.get(name, slice(None))]

    def path_of(self, name: str) -> str:
        """Returns the path of the Keras 3 layer that one of the clone's layers stands for.

        Args:
            name: Name of the clone's layer; one of several that stand for a layer begins with its
                name.
        """
        inner_last = sorted(self.names.items(), key=lambda item: len(item[0]))
        paths = {layer: path for path, layer in inner_last} | self.sources
        if name in paths:
            return paths[name]
        begins = [layer for layer in self.sources if name.startswith(f"{layer}_")]
        return self.sources[max(begins, key=len)] if begins else name


def build_clone(model: keras.Model, for_quantization: bool = False) -> TfKerasClone:
    """Builds the clone of a functional or sequential Keras 3 model and checks that it agrees.

    Shared layers stay shared, nested models are flattened, and operations such as `x + y` become
    the layers that tf_keras has for them. The model is left as it is.

    Args:
        model: A built functional or sequential `keras.Model`.
        for_quantization: Whether a `SeparableConv2D` becomes two layers and a hard swish one, as
            they are quantized.

    Returns:
        The `TfKerasClone`. It has copies of the weights and no initializers, regularizers or
        constraints.

    Raises:
        ValueError: If the model has no graph, or tf_keras lacks a layer or operation, or combines
            masks otherwise; the error names the first of them and what to do.
        RuntimeError: If the clone's outputs are not the model's.
    """
    tf_keras = load_tf_keras()
    graph = graph_of(model)
    builder = _Builder(for_quantization)
    inputs = [
        tf_keras.Input(
            tensor.shape[1:], tensor.shape[0], dtype=tensor.dtype, name=builder.unique(tensor.name)
        )
        for tensor in graph.inputs
    ]
    outputs = builder.run(graph, inputs)
    made = tf_keras.Model(inputs, keras.tree.flatten(outputs), name=model.name)
    of_layers = builder.names, builder.sources, builder.annotations
    clone = TfKerasClone(made, *of_layers, builder.parts, builder.statistics)
    for name in clone.sources:
        weights = clone.originals(model, name, lambda layer: layer.get_weights())
        made.get_layer(name).set_weights(weights)
    try:
        check_agreement(model, made)
    except RuntimeError as error:
        refusal = _refused_merge(graph)
        raise error if refusal is None else refusal from error
    return clone


class _Builder:
    """Rebuilds graphs with tf_keras layers, each Keras 3 layer once however often it is called."""

    def __init__(self, for_quantization: bool):
        self.for_quantization = for_quantization
        self.layers: dict[int, tuple[list, str | None]] = {}
        self.names: dict[str, str] = {}
        self.sources: dict[str, str] = {}
        self.annotations: dict[str, Any] = {}
        self.parts: dict[str, slice] = {}
        self.statistics: dict[str, list[np.ndarray]] = {}
        self._taken: set[str] = set()

    def run(self, graph: keras.Model, inputs: list, path: str = "") -> Any:
        """Returns the outputs of a graph for tf_keras tensors, in the model's structure."""
        _check_masks(graph, path)
        return run_graph(graph, inputs, self._perform, path)

    def _perform(self, call: Call, args: tuple, kwargs: dict[str, Any]) -> Any:
        operation, path = call.operation, call.path
        # Whether a graph is in training, its layers are told by each call: what was recorded of
        # it when the graph was made counts no more than it does in Keras 3.
        kwargs = {k: v for k, v in kwargs.items() if v is not None and k != "training"}
        if isinstance(operation, keras.Model):
            inputs = keras.tree.flatten(args) + keras.tree.flatten(kwargs.get("inputs", []))
            outputs = self.run(operation, inputs, f"{path}/")
            self._remember_nested(path, outputs)
            return outputs
        if not isinstance(operation, keras.layers.Layer):
            return tf_keras_operations.apply(
                call, args, kwargs, self.unique(path), self.for_quantization
            )
        chain, activation = self._layer(operation, path)
        outputs = chain[0](*args, **kwargs)
        for layer in chain[1:]:
            outputs = layer(outputs)
        last = chain[-1].name
        if activation:
            name = self.unique(f"{path}_{activation}")
            outputs = tf_keras_operations.activate(activation, outputs, name, self.for_quantization)
            last = outputs.node.layer.name
        self.names[path] = last
        return outputs

    def _remember_nested(self, path, outputs):
        outputs = keras.tree.flatten(outputs)
        if len(outputs) == 1:
            self.names[path] = outputs[0].node.layer.name

    def unique(self, name: str) -> str:
        """Returns the name as TensorFlow takes it, with a number if there is a layer of it."""
        name = re.sub(r"[^A-Za-z0-9_.-]", "_", name)
        name = name if name[0] not in "_-" else f"layer{name}"
        number, free = 1, name
        while free in self._taken:
            number, free = number + 1, f"{name}_{number}"
        self._taken.add(free)
        return free

    def _layer(self, layer, path):
        """The clone of a layer, a list of one or two, and the activation that it needs after it."""
        if id(layer) not in self.layers:
            # Marked for quantization: the clone is that of the layer within, under its name.
            marked = getattr(layer, "annotated_layer", None)
            plain = layer if marked is None else marked
            name = self.unique(path.removesuffix(layer.name) + plain.name)
            chain, activation = self._chain(plain, path, name)
            self.layers[id(layer)] = chain, activation
            for part in chain:
                if marked is not None:
                    is_last = part is chain[-1]
                    self.annotations[part.name] = layer.quantize_config if is_last else None
                if layer.weights and not isinstance(plain, keras.layers.Normalization):
                    self.sources[part.name] = path
            if isinstance(plain, keras.layers.Normalization) and layer.weights:
                self.statistics[path] = layer.get_weights()
        return self.layers[id(layer)]

    def _chain(self, layer, path, name):
        if not (self.for_quantization and type(layer) is keras.layers.SeparableConv2D):
            made, activation = split_layer(layer, path, name)
            return [made], activation
        first, second = _separated(layer, self.unique(f"{name}_depthwise"), name)
        depthwise, _ = split_layer(first, path, first.name)
        pointwise, activation = split_layer(second, path, name)
        self.parts[depthwise.name], self.parts[pointwise.name] = slice(0, 1), slice(1, None)
        return [depthwise, pointwise], activation


def _separated(layer, first, second):
    """The two convolutions that a separable one consists of."""
    config = layer.get_config()
    common = {"data_format": layer.data_format, "dtype": layer.dtype_policy}
    common["trainable"] = layer.trainable
    of_depthwise = ("kernel_size", "strides", "padding", "dilation_rate", "depth_multiplier")
    given = {field: config[field] for field in of_depthwise}
    depthwise = keras.layers.DepthwiseConv2D(**given, use_bias=False, name=first, **common)
    given = {field: config[field] for field in ("filters", "use_bias", "activation")}
    pointwise = keras.layers.Conv2D(kernel_size=1, **given, name=second, **common)
    return depthwise, pointwise


def _check_masks(graph, path):
    """Raises if a layer is given a mask that is computed in the graph, which tf_keras cannot."""
    for call, _, kwargs in Plan(graph, path).calls:
        masks = [kwargs[name] for name in kwargs if name == "mask" or name.endswith("_mask")]
        for mask in keras.tree.flatten(masks):
            is_computed = isinstance(mask, keras.KerasTensor) and not isinstance(
                maker_of(mask), keras.layers.InputLayer
            )
            if is_computed:
                reason = "its mask is computed in the graph; mask by a `Masking` layer or an "
                reason += "`Embedding`"
                raise cannot_clone(call.path, type(call.operation).__name__, reason)


def _refused_merge(graph, path=""):
    """The error for the first layer that combines masks, which tf_keras does otherwise, or None."""
    for call, *_ in Plan(graph, path).calls:
        if isinstance(call.operation, keras.Model):
            refusal = _refused_merge(call.operation, f"{call.path}/")
            if refusal is not None:
                return refusal
        masks = {id(mask_of(tensor)) for tensor in call.inputs}
        if isinstance(call.operation, _MERGES) and len(masks) > 1:
            reason = "it combines masks, in another way than tf_keras; mask after it, by a "
            reason += "`Masking` layer"
            return cannot_clone(call.path, type(call.operation).__name__, reason)
    return None
