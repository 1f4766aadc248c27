"""The layer that gives a classifier's logits, where that is a plain dense one."""

from typing import Any

import keras

from kdzoo.graph.calls import graph_of
from kdzoo.graph.final_activation import final_activation, operations_before_outputs
from kdzoo.utils import shown


def logits_layer(model: Any, least: int = 2) -> keras.layers.Dense:
    """Returns the dense layer without activation whose outputs are a classifier's logits.

    Args:
        model: A functional or sequential `keras.Model` of one output, (batch, classes).
        least: The fewest classes that are right.

    Raises:
        ValueError: If the model is something else, or ends in another layer or an activation.
    """
    if not isinstance(model, keras.Model):
        raise ValueError(
            f"Expected a keras.Model. Received: model={shown(model)} of type {type(model).__name__}"
        )
    graph = graph_of(model)
    if len(graph.outputs) != 1:
        raise ValueError(
            f"Expected a model of one output. Received: {model.name!r} with {len(graph.outputs)}"
        )
    if activation := final_activation(model):
        raise ValueError(
            f"Expected a model that gives logits. Received: {model.name!r}, which ends in a "
            f"{activation}; pass `kdzoo.as_logits(model)`."
        )
    layer = operations_before_outputs(model)[0][-1]
    if not isinstance(layer, keras.layers.Dense) or layer.units < least:
        raise ValueError(
            f"Expected a model whose last layer is a Dense of {least} or more classes. Received: "
            f"{model.name!r}, which ends in {layer.name!r}"
        )
    if layer.activation is not keras.activations.linear:
        raise ValueError(
            "Expected a last layer that gives logits as they are. Received: "
            f"{layer.name!r} of {model.name!r} with the activation "
            f"{shown(keras.activations.serialize(layer.activation))}"
        )
    return layer
