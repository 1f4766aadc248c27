"""Graphs built again from the layers whose quantization can be trained, with the same outputs."""

from collections import Counter
from typing import Any

import keras
import numpy as np

from kdzoo.graph.calls import Call, graph_of, nodes_within
from kdzoo.graph.channel_scaling import LINEAR, Linear, scaling_of
from kdzoo.graph.keras_internals import functional_of, mask_of, nodes_of
from kdzoo.graph.quantizable_layers import (
    OF_OPERATIONS,
    activated,
    activation_name,
    as_convolution,
    as_depthwise,
    as_frozen_depthwise,
    is_plain_linear,
    rescaled,
    splits_activation,
)
from kdzoo.graph.sequence_images import is_lifted, layers_for_images
from kdzoo.graph.surgery import Replace, compile_like, copy_of, rebuild


def as_quantizable(
    model: keras.Model,
    *,
    folds_normalizations: bool = False,
    dense_as_convolutions: bool = False,
    splits_activations: bool = False,
    replace: Replace | None = None,
) -> keras.Model:
    """Returns a model with the same outputs, of layers whose quantization can be trained.

    - Layers for sequences become those for images of width 1.
    - `Rescaling`, `Normalization`, and arithmetic with numbers become part of the convolution or
      dense layer before them; elsewhere they are a frozen 1x1 depthwise convolution, of images, or
      one `Rescaling` for the factors and one for the summands. So is `LayerScale`.
    - Activations within layers that cannot be quantized there become layers of their own, and a
      hard sigmoid becomes `relu6(x + 3) / 6`.
    - A convolution with as many groups as channels becomes a depthwise one, and a dense layer of
      images a 1x1 convolution.

    Layers that are called several times are left as they are.

    Args:
        model: The functional or built sequential `keras.Model`; it is left as it is.
        folds_normalizations: Whether batch normalizations right after a convolution or a dense
            layer become part of it. Their statistics are no longer updated then.
        dense_as_convolutions: Whether dense layers of vectors become 1x1 convolutions, too.
        splits_activations: Whether all activations but those that int8 layers have become layers
            of their own.
        replace: Function from a layer and its path to its copy, for layers that have no
            configuration to be copied by; None of those that have one.

    Returns:
        A new model, or the given one if there is nothing to change.

    Raises:
        ValueError: If the model has no graph.
    """
    rewriting = _Rewriting(model, folds_normalizations, dense_as_convolutions, splits_activations)
    made = rebuild(model, replace, rewriting.perform)
    return compile_like(made, model) if rewriting.changes else model


class _Rewriting:
    """Calls the layers of a new graph, others in the place of some."""

    def __init__(self, model, folds, dense_as_convolutions, splits):
        self._folds, self._dense = folds, dense_as_convolutions
        self._splits_all = splits
        self.changes = 0
        self._calls = Counter(id(node.operation) for node in nodes_within(model))
        self._uses: Counter[int] = Counter()
        self._outputs: set[int] = set()
        self._count_uses(graph_of(model), set())
        # By the `id` of a new tensor, which is kept: what else is known of it.
        self._images: dict[int, tuple] = {}
        self._linear: dict[int, tuple] = {}
        self._scaled: dict[int, tuple] = {}

    def _count_uses(self, graph, seen):
        if id(graph) in seen:
            return
        seen.add(id(graph))
        for node in nodes_of(graph):
            self._uses.update(map(id, node.inputs))
            if functional_of(node.operation) is not None:
                self._count_uses(graph_of(node.operation), seen)
        self._uses.update(map(id, graph.outputs))
        self._outputs.update(map(id, graph.outputs))

    def perform(self, call: Call, operation: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        """Returns what a call gives in the new graph."""
        is_single = self._calls[id(call.operation)] == 1 and len(call.outputs) == 1
        if is_single and functional_of(operation) is None and not self._is_masked(call):
            x = self._tensors(args, kwargs)
            self._dtype = getattr(call.operation, "dtype_policy", call.outputs[0].dtype)
            for rewrite in (self._rescale, self._lift, self._activate, self._linear_layer):
                made = rewrite(call, operation.name, x, args, kwargs)
                if made is not None:
                    self.changes += 1
                    return made
            outputs = operation(*args, **kwargs)
            self._note(call, outputs, x, args, kwargs)
            return outputs
        return operation(*args, **kwargs)

    def _note(self, call, outputs, x, args, kwargs):
        """Remembers what a call that was left as it is does."""
        found = scaling_of(call, args, kwargs) if len(x) == 1 else None
        if is_plain_linear(call.operation):
            weights = call.operation.get_weights()
            self._remember(call, outputs, Linear(x[0], copy_of(call.operation), weights))
        elif found is not None and not isinstance(call.operation, keras.layers.BatchNormalization):
            self._scaled[id(outputs)] = outputs, x[0], *found

    def _is_masked(self, call):
        return any(mask_of(tensor) is not None for tensor in call.inputs)

    def _tensors(self, args, kwargs):
        leaves = keras.tree.flatten((args, kwargs))
        return [leaf for leaf in leaves if isinstance(leaf, keras.KerasTensor)]

    def _remember(self, call, tensor, linear):
        """Keeps what a tensor was made by, if nothing but the next call depends on it."""
        layer = linear.layer
        is_linear = layer.activation is keras.activations.linear
        is_last = getattr(layer, "data_format", "channels_last") == "channels_last"
        if is_linear and is_last and self._uses[id(call.outputs[0])] == 1:
            self._linear[id(tensor)] = tensor, linear

    # Sequences and vectors as images.

    def _image(self, tensor):
        """The image that a tensor is made of by a reshape, or None."""
        found = self._images.get(id(tensor))
        return None if found is None else found[1]

    def _as_image(self, tensor, name):
        """A sequence (steps, channels) or vector (channels,) as an image of width 1."""
        image = self._image(tensor)
        if image is None:
            *steps, channels = tensor.shape[1:]
            height = (-1 if steps[0] is None else steps[0]) if steps else 1
            shape = (height, 1, channels)
            layer = keras.layers.Reshape(shape, name=f"{name}_as_image", dtype=self._dtype)
            image = layer(tensor)
            self._images[id(tensor)] = tensor, image
        return image

    def _from_image(self, call, image, name):
        """What takes the place of a call's output, of an image; of other ranks by a reshape."""
        shape = call.outputs[0].shape[1:]
        if len(shape) == len(image.shape) - 1:
            return image
        shape = tuple(-1 if size is None else size for size in shape)
        tensor = keras.layers.Reshape(shape, name=name, dtype=self._dtype)(image)
        self._images[id(tensor)] = tensor, image
        return tensor

    def _names(self, call, name):
        """Names for a layer of images and for the reshape behind it; an output keeps its own."""
        if id(call.outputs[0]) in self._outputs and len(call.outputs[0].shape) != 4:
            return f"{name}_image", name
        return name, f"{name}_reshaped"

    def _lift(self, call, name, inputs, args, kwargs):
        layer = call.operation
        if not isinstance(layer, keras.layers.Layer) or not inputs:
            return None
        images = [self._image(tensor) for tensor in inputs]
        own, behind = self._names(call, name)
        if is_lifted(layer):
            images = [self._as_image(tensor, name) for tensor in inputs]
        elif None in images:
            return None
        layers = layers_for_images(layer, own, len(inputs[0].shape))
        if layers is None:
            return None
        x = images if len(images) > 1 else images[0]
        for made, weights in layers:
            source, x = x, made(x)
            if weights:
                made.set_weights(weights)
        if type(layers[-1][0]) in LINEAR:
            return self._finish(call, Linear(source, *layers[-1]), behind)
        return self._from_image(call, x, behind)

    # Layers with a kernel.

    def _linear_layer(self, call, name, inputs, args, kwargs):
        layer = call.operation
        if not is_plain_linear(layer):
            return None
        x, weights = inputs[0], layer.get_weights()
        own, behind = self._names(call, name)
        image = self._image(x)
        is_vector = len(x.shape) == 2 and self._dense
        if type(layer) is keras.layers.Dense and (
            len(x.shape) == 4 or is_vector or image is not None
        ):
            x = x if len(x.shape) == 4 else self._as_image(x, name)
            made = as_convolution(layer, own)
            weights = [weights[0][None, None], *weights[1:]]
            return self._finish(call, Linear(x, made, weights), behind)
        depthwise = as_depthwise(layer, x.shape[-1])
        if depthwise is not None:
            kernel = weights[0].reshape(*weights[0].shape[:2], x.shape[-1], -1)
            return self._finish(call, Linear(x, depthwise, [kernel, *weights[1:]]), behind)
        if splits_activation(layer, self._splits_all):
            return self._finish(call, Linear(x, copy_of(layer), weights), behind)
        return None

    def _finish(self, call, linear, behind):
        """Makes a layer with a kernel, the activation behind it, and the reshape behind that."""
        layer, activation = linear.layer, None
        if splits_activation(layer, self._splits_all):
            activation = layer.activation
            name = layer.name
            layer = copy_of(layer, activation="linear", name=f"{name}_linear")
            linear = Linear(linear.source, layer, linear.weights)
        if activation is None:
            return self._made(call, linear, behind)
        x = activated(linear, activation, name, self._dtype)
        return self._from_image(call, x, behind)

    def _made(self, call, linear, behind):
        image = linear.output()
        outputs = self._from_image(call, image, behind)
        self._remember(call, outputs, linear)
        return outputs

    # Activations.

    def _activate(self, call, name, inputs, args, kwargs):
        layer = call.operation
        activation = OF_OPERATIONS.get(type(layer).__name__)
        if type(layer) is keras.layers.Activation:
            activation = activation_name(layer)
        elif isinstance(layer, keras.layers.Layer) or len(inputs) != 1:
            return None
        if activation not in ("hard_sigmoid", "relu6"):
            return None
        x = inputs[0]
        found = self._linear.get(id(x))
        image = self._image(x)
        own, behind = self._names(call, name) if image is not None else (name, name)
        if found is not None:
            x = activated(found[1], activation, own, self._dtype)
        else:
            x = activated(x if image is None else image, activation, own, self._dtype)
        return self._from_image(call, x, behind) if image is not None else x

    # Scales and shifts of channels.

    def _rescale(self, call, name, inputs, args, kwargs):
        if len(inputs) != 1:
            return None
        found = scaling_of(call, args, kwargs)
        is_norm = isinstance(call.operation, keras.layers.BatchNormalization)
        if found is None or (is_norm and not self._folds):
            return None
        x = inputs[0]
        if id(x) in self._linear:
            linear = self._linear[id(x)][1].scaled(*found)
            return self._made(call, linear, self._names(call, name)[1])
        if is_norm:
            return None
        return self._scale_alone(call, name, x, *found)

    def _scale_alone(self, call, name, x, factor, summand):
        """Layers that scale and shift; None where the operation is such a layer itself."""
        is_first = id(x) not in self._scaled
        if not is_first:
            _, x, before, shift = self._scaled[id(x)]
            factor, summand = factor * before, factor * shift + summand
        is_output = id(call.outputs[0]) in self._outputs
        if np.all(factor == 1) and np.all(summand == 0) and not is_output:
            made = x
        elif factor.ndim == summand.ndim == 0 and (factor == 1 or summand == 0):
            if is_first:
                return None
            made = rescaled(x, factor, summand, name, self._dtype)
        elif len(x.shape) == 4 and x.shape[-1] is not None:
            made = as_frozen_depthwise(x, factor, summand, name, self._dtype)
        else:
            made = rescaled(x, factor, 0, f"{name}_scale", self._dtype)
            made = rescaled(made, 1, summand, name, self._dtype)
        self._scaled[id(made)] = made, x, factor, summand
        return made
