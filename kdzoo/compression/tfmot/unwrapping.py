"""Hosts within a model: found, masked, and replaced by the plain layers that they stand for."""

import keras

from kdzoo.compression.tfmot.library import check_no_distiller
from kdzoo.compression.tfmot.wrapped_layer import HostedLayer, copy_of
from kdzoo.compression.tfmot.wrapped_model import HostedModel
from kdzoo.graph.states import finalize_states
from kdzoo.graph.taps import graph_of
from kdzoo.utils import shown


def check_layer_or_model(argument, given):
    """Raises unless the argument of this name is a `keras.Model` or a `keras.layers.Layer`."""
    if not isinstance(given, keras.layers.Layer):
        raise ValueError(
            "Expected a functional or sequential `keras.Model`, a `keras.layers.Layer`, or a list "
            f"of layers. Received: {argument}={shown(given)} of type {type(given).__name__}"
        )


def check_not_compressed(given):
    """Raises for a model that something else is done to, and for one that trains another."""
    check_no_distiller(given)
    if isinstance(given, HostedModel | HostedLayer):
        raise ValueError(
            f"Expected what is plain. Received: {given.name!r}, a {type(given).__name__}, which is "
            "being pruned, clustered or quantized already: pass `strip_pruning(model)` or "
            "`strip_clustering(model)`."
        )


def wrappers(model):
    """Returns the tf_keras layers, wrapped or not, that hosts within a model compute with.

    Raises:
        ValueError: If a hosted layer is not built.
    """
    found = []
    for layer in model._flatten_layers():
        if isinstance(layer, HostedModel):
            found += layer.wrapped.layers
        elif isinstance(layer, HostedLayer):
            if layer.wrapped is None:
                raise ValueError(
                    "Expected a built model: give it a `keras.Input` as its first layer, or call "
                    f"it once. Received: {model.name!r}, whose {layer.name!r} is not built"
                )
            found.append(layer.wrapped)
    return found


def hosted_layers(model, kind=(HostedLayer, HostedModel)):
    """Returns the layers of a kind within a model, nested models and a Distiller's student too."""
    layers = model._flatten_layers(include_self=False)
    return [layer for layer in layers if isinstance(layer, kind)]


def without_hosted_layers(model):
    """Returns a copy of a model with plain layers, and their present weights, for hosted ones.

    Args:
        model: A functional or sequential `keras.Model`.
    """
    graph_of(model)
    made = {}

    def clone(layer):
        if isinstance(layer, HostedModel):
            return layer.plain_model()
        if isinstance(layer, keras.Model):
            return without_hosted_layers(layer)
        made[layer] = layer.plain_layer() if isinstance(layer, HostedLayer) else copy_of(layer)
        return made[layer]

    functions = {"clone_function": clone}
    if not isinstance(model, keras.Sequential):
        functions["call_function"] = _call_without_masks
    plain = keras.models.clone_model(model, **functions)
    for layer, new in made.items():
        hosted = isinstance(layer, HostedLayer)
        new.set_weights(layer.plain_weights() if hosted else layer.get_weights())
    finalize_states(plain)
    return plain


def _call_without_masks(layer, *args, **kwargs):
    """Calls a layer without the mask that Keras gives it, and gave the hosted layer, by itself.

    One that was given by hand stays, where the inputs have none of their own.
    """
    has_mask = (getattr(each, "_keras_mask", None) is not None for each in keras.tree.flatten(args))
    if kwargs.get("mask") is None or any(has_mask):
        kwargs = {name: each for name, each in kwargs.items() if name != "mask"}
    return layer(*args, **kwargs)


def plain_copy(model):
    """Returns the plain Keras 3 model, a new one, of one that is compressed, or None.

    What is pruned is masked first, as the next training step would.

    Args:
        model: A hosted model, one with hosted layers, or a Distiller with such a student.
    """
    model = getattr(model, "student", model)
    mask_weights(model)
    if isinstance(model, HostedModel):
        return model.plain_model()
    return without_hosted_layers(model) if hosted_layers(model) else None


def mask_weights(model):
    """Sets the masked weights of all pruned layers in a model to zero."""
    for layer in wrappers(model):
        if getattr(layer, "pruning_vars", None):
            layer.pruning_obj.weight_mask_op()
