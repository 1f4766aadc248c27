"""Batch normalization as part of convolutions, for networks that TF-MOT would not quantize."""

import keras
import numpy as np

from kdzoo.graph.states import finalize_states
from kdzoo.graph.taps import graph_of

_FOLDING = (
    keras.layers.Conv2D,
    keras.layers.Conv2DTranspose,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv2D,
    keras.layers.Dense,
)


def fold_batch_normalization(model):
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
    graph_of(model)
    lone, made = _lone(model), {}

    def clone(layer):
        if isinstance(layer, keras.Model):
            return fold_batch_normalization(layer)
        is_lone = layer in lone
        made[layer] = (
            _convolution(layer) if is_lone else type(layer).from_config(layer.get_config())
        )
        return made[layer]

    def call(layer, *args, **kwargs):
        # What replaces a batch normalization does not take what that was given.
        replaces = any(layer is made[each] for each in lone if each in made)
        return layer(*args) if replaces else layer(*args, **kwargs)

    functions = {"clone_function": clone}
    if not isinstance(model, keras.Sequential):
        functions["call_function"] = call
    folded = keras.models.clone_model(model, **functions)
    for layer, copy in made.items():
        copy.set_weights(_folded_weights(layer) if layer in lone else layer.get_weights())
    finalize_states(folded)
    return folded


def _lone(model):
    """The batch normalizations of a model's own with nothing to be folded into."""
    found = set()
    graph = graph_of(model)
    nodes = [node for level in graph._nodes_by_depth.values() for node in level]
    uses = [id(tensor) for node in nodes for tensor in node.input_tensors]
    uses += [id(tensor) for tensor in graph.outputs]
    makers = {id(tensor): node.operation for node in nodes for tensor in node.outputs}
    calls = [node.operation for node in nodes]
    for node in nodes:
        layer = node.operation
        if isinstance(layer, keras.layers.BatchNormalization):
            (tensor,) = node.input_tensors
            maker = makers.get(id(tensor))
            is_shared = uses.count(id(tensor)) > 1 or calls.count(maker) > 1
            if not _takes_a_norm(maker) or is_shared:
                found.add(layer)
    return found


def _takes_a_norm(layer):
    """Whether TF-MOT quantizes a layer together with the batch normalization after it."""
    return isinstance(layer, _FOLDING) and layer.activation is keras.activations.linear


def _convolution(layer):
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


def _folded_weights(layer):
    """Kernel (1, 1, channels, 1) and bias of the convolution that a batch normalization is."""
    mean, variance = np.asarray(layer.moving_mean), np.asarray(layer.moving_variance)
    scale = 1 / np.sqrt(variance.astype("float64") + layer.epsilon)
    if layer.scale:
        scale = scale * np.asarray(layer.gamma)
    shift = -mean * scale
    if layer.center:
        shift = shift + np.asarray(layer.beta)
    return [scale.reshape(1, 1, -1, 1).astype("float32"), shift.astype("float32")]
