"""Models that end in probabilities, and the same models ending in logits."""

from typing import Any

import keras

from kdzoo.graph.calls import Call, graph_of
from kdzoo.graph.final_activation import (
    activation_of,
    computes_no_logarithm,
    ends_of_outputs,
    final_activation,
    final_makers,
    final_operations,
    hands_on,
)
from kdzoo.graph.keras_internals import Node, functional_of, nodes_of
from kdzoo.graph.outputs import remember_types, types_by_activation
from kdzoo.graph.surgery import copy_of, rebuild
from kdzoo.utils import shown

__all__ = ["as_logits", "final_activation"]

_SOFTMAX = keras.layers.Softmax.call


def as_logits(model: keras.Model) -> keras.Model:
    """Returns a copy of a classifier that gives logits instead of probabilities, weights kept.

    A softmax or sigmoid at the end becomes the identity, be it the activation of the last layer, a
    layer of its own or inside a nested model; everything else stays. The copy shares no weights
    with the original, which is not changed. Losses, ensembles and evaluation know of the copy
    whether it had sigmoids of binary labels or a softmax of classes. A file of it does not:
    of a multi-label model that is loaded again, say `output_type="binary"`.

    Args:
        model: A functional or Sequential `keras.Model`.

    Returns:
        A new `keras.Model`, not compiled, or `model` itself if it ends in neither.

    Raises:
        ValueError: If the model is subclassed or not built, or ends in the function
            `keras.ops.softmax` or `keras.ops.sigmoid`, or uses its last layer, or what that gives,
            in another place as well, or goes on from its probabilities without weights and without
            a logarithm, as by averages, resizing or 1 - p.

    Example:

    ```python
    teacher = kdzoo.as_logits(keras.applications.MobileNetV2())
    ```
    """
    if isinstance(model, keras.Sequential):
        graph_of(model)  # It has one once it is built.
    if not getattr(model, "inputs", None):
        raise ValueError(
            "Expected a functional or Sequential model. Received: "
            f"{shown(model)} of type {type(model).__name__}; give its last layer `activation=None`."
        )
    _check_not_mixed(model)
    if final_activation(model) is None:
        return model
    last = final_operations(model)
    _check_strippable(model, last)

    def is_last(operation: keras.Operation) -> bool:
        return any(operation is one for one in last)

    def without_activation(layer: keras.Operation, path: str) -> keras.layers.Layer | None:
        if not is_last(layer) or isinstance(layer, keras.Model):
            return None
        if isinstance(layer, keras.layers.Softmax):
            return keras.layers.Activation("linear", name=layer.name, dtype=layer.dtype_policy)
        if not isinstance(layer, keras.layers.Wrapper):
            return copy_of(layer, activation="linear")
        config = layer.get_config()
        config["layer"]["config"]["activation"] = "linear"
        return type(layer).from_config(config)

    def without_mask(call: Call, layer: keras.Operation, args: tuple, kwargs: dict) -> Any:
        if is_last(call.operation) and isinstance(call.operation, keras.layers.Softmax):
            return layer(args[0] if args else kwargs["inputs"])  # The identity takes no mask.
        return layer(*args, **kwargs)

    logits = rebuild(model, without_activation, without_mask)
    remember_types(logits, types_by_activation(model))
    return logits


def _check_not_mixed(model: keras.Model, outputs: set[int] | None = None) -> None:
    """Raises if a model goes on from its probabilities, so that there are no logits of them.

    Args:
        model: The model.
        outputs: The positions of the outputs that are looked at; None for all.
    """
    graph = functional_of(model)
    if graph is None:
        return
    handed = ends_of_outputs(graph, hands_on)
    made = ends_of_outputs(
        graph, lambda operation: hands_on(operation) or computes_no_logarithm(operation)
    )
    for index, ((last, *_), ends) in enumerate(zip(handed, made, strict=True)):
        if last is None or (outputs is not None and index not in outputs):
            continue
        if isinstance(last.operation, keras.Model):
            _check_not_mixed(last.operation, {last.position})
            continue
        sources = [end for end in ends if end is not None and activation_of(end)]
        if last not in ends and len(sources) == len(ends):
            raise ValueError(
                f"Expected the model to end in its softmax or sigmoid, or in logits. Received: "
                f"{model.name!r}, whose outputs {last.operation.name!r} computes from the "
                f"probabilities that {sources[0].operation.name!r} gives, so that they have no "
                "logits; do that before the activation: `keras.Model(model.inputs, logits)`."
            )


def _check_strippable(model: keras.Model, last: list[keras.Operation]) -> None:
    """Raises unless a model's last operations, of nested models too, are layers of one call."""
    calls = _called(model)
    for operation in last:
        if not isinstance(operation, keras.layers.Layer):
            name = type(operation).__name__.lower()
            raise ValueError(
                f"Expected the model to end in a layer. Received: the function `keras.ops.{name}`; "
                "make the model without it: `keras.Model(model.inputs, logits)`."
            )
        inner = getattr(operation, "activation", None) or operation
        if isinstance(inner, keras.layers.Softmax) and type(inner).call is not _SOFTMAX:
            raise ValueError(
                f"Expected the last layer, {operation.name!r}, to be a softmax and nothing else. "
                f"Received: a {type(inner).__name__} with a `call` of its own; make the model "
                "without it: `keras.Model(model.inputs, logits)`."
            )
        count = sum(operation is called for called in calls)
        if count > 1:
            raise ValueError(
                f"Expected the last layer, {operation.name!r}, to be used once. Received: "
                f"{count} uses; build the model with a separate last layer."
            )
    _check_used_nowhere_else(model, last)


def _called(model: keras.Model) -> list[keras.Operation]:
    """The operations that a model calls, those within its nested models too, once for each call."""
    operations = [node.operation for node in nodes_of(graph_of(model))]
    nested = [part for part in operations if functional_of(part) is not None]
    return operations + [operation for part in nested for operation in _called(part)]


def _check_used_nowhere_else(model: keras.Model, last: list[keras.Operation]) -> None:
    """Raises if what a last operation gives also goes elsewhere than to the model's outputs."""
    nodes = nodes_of(graph_of(model))
    for node in nodes:
        if not any(node.operation is operation for operation in last):
            continue
        waiting = _probabilities(node)
        while waiting:
            tensor = waiting.pop()
            for user in nodes:
                if not any(tensor is given for given in user.inputs):
                    continue
                if not hands_on(user.operation):
                    raise ValueError(
                        f"Expected the last layer, {node.operation.name!r}, to lead to the outputs "
                        f"of the model alone. Received: {user.operation.name!r}, which takes what "
                        "it gives; build the model with a separate last layer."
                    )
                waiting += user.outputs
        if isinstance(node.operation, keras.Model):
            _check_used_nowhere_else(node.operation, last)


def _probabilities(node: Node) -> list[keras.KerasTensor]:
    """The tensors of those that a last operation gave which are probabilities."""
    if not isinstance(node.operation, keras.Model):
        return list(node.outputs)
    makers = final_makers(graph_of(node.operation))
    return [tensor for tensor, maker in zip(node.outputs, makers, strict=True) if maker]
