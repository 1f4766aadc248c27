"""Batch normalization as part of convolutions, for networks that TF-MOT would not quantize."""

from collections import Counter
from typing import Any

import keras
import numpy as np

from kdzoo.graph.calls import Call, graph_of, nodes_within
from kdzoo.graph.keras_internals import Node, functional_of, nodes_of
from kdzoo.graph.surgery import compile_like, rebuild

_FOLDING = (
    keras.layers.Conv1D,
    keras.layers.DepthwiseConv1D,
    keras.layers.SeparableConv1D,
    keras.layers.Conv2D,
    keras.layers.Conv2DTranspose,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv2D,
    keras.layers.Dense,
)


def fold_batch_normalization(model: keras.Model) -> keras.Model:
    """Returns a copy of a trained model whose lone batch normalizations are 1x1 convolutions.

    TF-MOT quantizes a batch normalization only right after a convolution or a dense layer, which
    leaves out pre-activation residual networks. What stands elsewhere becomes a depthwise 1x1
    convolution with a bias, of the same name and the same outputs in inference, between two
    reshapes where there are no images; its scale and shift are trained on, its statistics are no
    longer updated. The rest is copied as it is.

    Args:
        model: The trained functional or sequential `keras.Model`; it is not changed.

    Returns:
        A `keras.Model` that `quantize_model` takes.

    Raises:
        ValueError: If the model has no graph, or a lone batch normalization is not over the
            channels, the last axis.

    Example:

    ```python
    quantized = quantize_model(fold_batch_normalization(wide_resnet))
    ```
    """
    lone = _lone_norms(model, Counter(node.operation for node in nodes_within(model)))

    def replace(layer: keras.Operation, path: str) -> tuple[keras.layers.Layer, list] | None:
        return (_convolution(layer), _folded_weights(layer)) if layer in lone else None

    def perform(call: Call, layer: keras.Operation, args: tuple, kwargs: dict) -> Any:
        # What replaces a batch normalization does not take the arguments of one.
        return layer(*args) if call.operation in lone else layer(*args, **kwargs)

    return compile_like(rebuild(model, replace, perform), model)


def _lone_norms(
    model: keras.Model, calls: Counter[keras.Operation]
) -> set[keras.layers.BatchNormalization]:
    """The batch normalizations of a model, and its nested ones, with nothing to be folded into.

    Args:
        model: The model.
        calls: How often each operation is called, nested models counted through.
    """
    graph = graph_of(model)
    nodes = nodes_of(graph)
    uses = [id(tensor) for node in nodes for tensor in node.inputs]
    uses += [id(tensor) for tensor in graph.outputs]
    makers = {id(tensor): node.operation for node in nodes for tensor in node.outputs}

    def is_lone(node: Node) -> bool:
        (tensor,) = node.inputs
        maker = makers.get(id(tensor))
        is_shared = uses.count(id(tensor)) > 1 or calls[maker] > 1
        return is_shared or not _takes_a_norm(maker)

    norms = [n for n in nodes if isinstance(n.operation, keras.layers.BatchNormalization)]
    found = {node.operation for node in norms if is_lone(node)}
    nested = [n.operation for n in nodes if functional_of(n.operation) is not None]
    return found.union(*(_lone_norms(inner, calls) for inner in nested))


def _takes_a_norm(layer: keras.Operation | None) -> bool:
    """Whether TF-MOT quantizes a layer together with the batch normalization after it."""
    return isinstance(layer, _FOLDING) and layer.activation is keras.activations.linear


def _convolution(layer: keras.layers.BatchNormalization) -> keras.layers.Layer:
    """The layer that takes the place of a lone batch normalization, without weights."""
    _, *sizes, channels = shape = layer.input.shape
    if layer.axis not in (-1, len(shape) - 1) or (sizes.count(None) > 1 and len(shape) != 4):
        raise ValueError(
            "Expected a batch normalization over the channels, the last axis, of one unknown size "
            f"at most. Received: {layer.name!r} over axis {layer.axis} of {shape}; put it right "
            "after a dense layer or a convolution."
        )
    settings = {"dtype": layer.dtype_policy, "trainable": layer.trainable}
    if len(shape) == 4:
        return keras.layers.DepthwiseConv2D(1, name=layer.name, **settings)
    back = tuple(-1 if size is None else size for size in (*sizes, channels))
    parts = [
        keras.Input(shape[1:]),
        keras.layers.Reshape((1 if not sizes else -1, 1, channels), name="as_image"),
        keras.layers.DepthwiseConv2D(1, name="normalized", **settings),
        keras.layers.Reshape(back, name="as_before"),
    ]
    return keras.Sequential(parts, name=layer.name)


def _folded_weights(layer: keras.layers.BatchNormalization) -> list[np.ndarray]:
    """Kernel (1, 1, channels, 1) and bias of the convolution that a batch normalization is."""
    mean, variance = np.asarray(layer.moving_mean), np.asarray(layer.moving_variance)
    scale = 1 / np.sqrt(variance.astype("float64") + layer.epsilon)
    if layer.scale:
        scale = scale * np.asarray(layer.gamma)
    shift = -mean * scale
    if layer.center:
        shift = shift + np.asarray(layer.beta)
    return [scale.reshape(1, 1, -1, 1).astype("float32"), shift.astype("float32")]
