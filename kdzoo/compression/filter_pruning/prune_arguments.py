"""Checks of the arguments of filter pruning."""

from collections.abc import Mapping
from typing import Any

import keras

from kdzoo.graph.calls import nodes_within
from kdzoo.graph.keras_internals import flatten_layers
from kdzoo.graph.taps import find_layer
from kdzoo.utils import check_choice, is_number, shown, unknown_name
from kdzoo.utils.compression_arguments import FILTER_CRITERIA, NEED_DATA


def check_target(targets: Mapping[str, float | None]) -> tuple[str, float]:
    """Returns the name and the value of the only target that is given.

    Args:
        targets: Name -> value; one that ends in `_ms` is in milliseconds, the others are fractions.

    Raises:
        ValueError: If none or several are given, or it is out of range.
    """
    given = {name: value for name, value in targets.items() if value is not None}
    if len(given) != 1:
        *names, last = targets
        raise ValueError(
            f"Expected exactly one of {', '.join(names)} and {last}. Received: "
            f"{', '.join(f'{name}={shown(value)}' for name, value in given.items()) or 'none'}"
        )
    ((name, value),) = given.items()
    most = float("inf") if name.endswith("_ms") else 1
    if not is_number(value) or not 0 < value < most:
        within = "be a positive number" if most > 1 else "lie in (0, 1)"
        raise ValueError(f"Expected {name} to {within}. Received: {name}={shown(value)}")
    return name, float(value)


def check_importance(importance: Any, data: Any, loss: Any) -> None:
    """Raises `ValueError` unless there is such a criterion, and what it needs."""
    if callable(importance):
        return
    check_choice("importance", importance, FILTER_CRITERIA)
    if importance in NEED_DATA and data is None:
        raise ValueError(f"Expected data for importance={importance!r}. Received: data=None")
    if importance == "taylor" and not (isinstance(loss, str) or callable(loss)):
        raise ValueError(
            "Expected a loss for importance='taylor', such as "
            "keras.losses.SparseCategoricalCrossentropy(from_logits=True). Received: "
            f"loss={shown(loss)}"
        )
    if isinstance(loss, str) and importance == "taylor":
        try:
            keras.losses.get(loss)
        except ValueError:
            known = (name for name in dir(keras.losses) if name[0] != "_")
            examples = ("mean_squared_error", "sparse_categorical_crossentropy")
            raise unknown_name("loss", loss, known, examples) from None


def check_ignored_layers(model: keras.Model, ignored_layers: Any) -> set[keras.layers.Layer]:
    """Returns the layers that paths name, or that were given, and those within them.

    For a part of a layer, which the graph does not call itself, it is the layer that has it.

    Raises:
        ValueError: If it is no list, or a layer is none of the model, or its graph has no call of
            it.
    """
    if not isinstance(ignored_layers, list | tuple | set | frozenset):
        raise ValueError(
            "Expected ignored_layers to be a list of paths of layers, or of layers. Received: "
            f"ignored_layers={shown(ignored_layers)}"
        )
    found: set[keras.layers.Layer] = set()
    own = set(flatten_layers(model, include_self=False))
    called = [node.operation for node in nodes_within(model)]
    for layer in ignored_layers:
        is_layer = isinstance(layer, keras.layers.Layer)
        if is_layer and layer not in own:
            raise ValueError(
                f"Expected layers of {model.name!r} in ignored_layers. Received: {layer.name!r}, "
                "a layer of another model"
            )
        layer = layer if is_layer else find_layer(model, layer)
        if layer is not model and layer not in called:
            found.update(_with_part(model, called, layer))
        found.update(flatten_layers(layer))
    return found


def _with_part(model, called, part):
    """The layers that a graph calls which have a layer as a part of theirs, or an error."""
    layers = [op for op in called if isinstance(op, keras.layers.Layer)]
    found = [layer for layer in layers if part in flatten_layers(layer, include_self=False)]
    if not found:
        raise ValueError(
            f"Expected layers that {model.name!r} calls in ignored_layers. Received: "
            f"{part.name!r}, which it does not call"
        )
    return found
