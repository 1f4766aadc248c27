"""The model that is left when channels have gone: other layers, and slices of the weights."""

from typing import Any

import keras
import numpy as np

from kdzoo.compression.filter_pruning.channels import matter
from kdzoo.compression.filter_pruning.coupling import Coupling, Fold, Slices, kernel_of
from kdzoo.graph.keras_internals import copy_of_operation
from kdzoo.graph.surgery import compile_like, copy_of, rebuild


def smaller_model(model: keras.Model, coupling: Coupling, stays: np.ndarray) -> keras.Model:
    """Returns a model without some channels; what is left has the weights that it had.

    Channels that are constants are added to the bias of what reads them, which gets one if it has
    none.

    Args:
        model: The model; it is not changed.
        coupling: What is known of its channels.
        stays: For each number of a channel, whether it stays.
    """
    parts: dict[int, list[Slices]] = {}
    for part in coupling.slices.values():
        if not stays[part.ids].all():
            parts.setdefault(id(part.layer), []).append(part)

    everything = np.ones_like(stays)

    def replace(layer: keras.Operation, path: str) -> Any:
        fields = _fields(coupling, layer, stays)
        if id(layer) not in parts and fields == _fields(coupling, layer, everything):
            return None
        if not isinstance(layer, keras.layers.Layer):
            operation = copy_of_operation(layer)
            vars(operation).update(fields)
            return operation
        weights = _sliced(layer, parts.get(id(layer), []), stays)
        fold = coupling.folds.get(id(layer))
        bias = None if fold is None else _folded(fold, stays)
        if bias is not None and bias.any():
            if not layer.use_bias:
                fields["use_bias"] = True
                weights.append(np.zeros(len(bias), weights[0].dtype))
            weights[-1] = (weights[-1] + bias).astype(weights[-1].dtype)
        return copy_of(layer, **fields), weights

    return compile_like(rebuild(model, replace), model)


def _fields(coupling, layer, stays):
    """The fields of a layer's configuration that follow from what stays."""
    _, fields = coupling.changes.get(id(layer), (layer, {}))
    return {name: value(stays) for name, value in fields.items()}


def _sliced(layer, parts, stays):
    """A layer's weights, without what has gone."""
    weights = layer.get_weights()
    variables: list = list(map(id, layer.weights))
    for part in parts:
        place = variables.index(id(part.variable))
        positions = np.flatnonzero(stays[part.ids])
        weights[place] = np.take(weights[place], positions, part.axis)
    return weights


def _folded(fold: Fold, stays: np.ndarray) -> np.ndarray:
    """What constants that have gone add to the outputs that are left."""
    gone = ~stays[fold.ids]
    constants = np.where(matter(fold.constants[gone]), fold.constants[gone], 0.0)
    if not constants.any():
        return np.zeros(0)
    added = constants @ kernel_of(fold.layer, fold.weight).sum(0)[gone]
    return added[stays[fold.outputs]]
