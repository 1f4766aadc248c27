"""Models that end in probabilities, and the same models ending in logits."""

from typing import Any

import keras

from kdzoo.graph.calls import Call, graph_of
from kdzoo.graph.keras_internals import nodes_of
from kdzoo.graph.outputs import final_activation, final_operations
from kdzoo.graph.surgery import copy_of, rebuild
from kdzoo.utils import shown

__all__ = ["as_logits", "final_activation"]


def as_logits(model: keras.Model) -> keras.Model:
    """Returns a copy of a classifier that gives logits instead of probabilities, weights kept.

    A softmax or sigmoid at the end is left out, be it the activation of the last layer, a layer of
    its own or inside a nested model; everything else stays. The copy shares no weights with the
    original, which is not changed.

    Args:
        model: A functional or Sequential `keras.Model`.

    Returns:
        A new `keras.Model`, or `model` itself if it ends in neither.

    Raises:
        ValueError: If the model is subclassed, or ends in the function `keras.ops.softmax` or
            `keras.ops.sigmoid`, or uses its last layer in another place as well.

    Example:

    ```python
    teacher = kdzoo.as_logits(keras.applications.MobileNetV2())
    ```
    """
    if not getattr(model, "inputs", None):
        raise ValueError(
            "Expected a functional or Sequential model. Received: "
            f"{shown(model)} of type {type(model).__name__}; give its last layer `activation=None`."
        )
    if final_activation(model) is None:
        return model
    last = final_operations(model)
    _check_strippable(model, last)

    def without_activation(layer: keras.Operation, path: str) -> keras.layers.Layer | None:
        is_softmax = isinstance(layer, keras.layers.Softmax | keras.Model)
        if is_softmax or not any(layer is operation for operation in last):
            return None
        if not isinstance(layer, keras.layers.Wrapper):
            return copy_of(layer, activation="linear")
        config = layer.get_config()
        config["layer"]["config"]["activation"] = "linear"
        return type(layer).from_config(config)

    def without_softmax(call: Call, layer: keras.Operation, args: tuple, kwargs: dict) -> Any:
        is_last = any(call.operation is operation for operation in last)
        is_softmax = isinstance(call.operation, keras.layers.Softmax)
        return args[0] if is_last and is_softmax else layer(*args, **kwargs)

    return rebuild(model, without_activation, without_softmax)


def _check_strippable(model: keras.Model, last: list[keras.Operation]) -> None:
    """Raises unless a model's last operations, of nested models too, are layers of one call."""
    calls = [node.operation for node in nodes_of(graph_of(model))]
    for operation in last:
        if not isinstance(operation, keras.layers.Layer):
            name = type(operation).__name__.lower()
            raise ValueError(
                f"Expected the model to end in a layer. Received: the function `keras.ops.{name}`; "
                "make the model without it: `keras.Model(model.inputs, logits)`."
            )
        count = sum(operation is called for called in calls)
        if count > 1:
            raise ValueError(
                f"Expected the last layer, {operation.name!r}, to be used once. Received: "
                f"{count} uses; build the model with a separate last layer."
            )
    for operation in last:
        if isinstance(operation, keras.Model):
            inside = {id(node.operation) for node in nodes_of(graph_of(operation))}
            _check_strippable(operation, [part for part in last if id(part) in inside])
