"""Wrapped parts of a model: found, masked, and replaced by the plain layers they stand for."""

import contextlib
from typing import Any

import keras
import numpy as np

from kdzoo.compression.tfmot.library import check_no_distiller, knows_no_weights
from kdzoo.compression.tfmot.wrapped_layer import WrappedLayer
from kdzoo.compression.tfmot.wrapped_model import WrappedModel
from kdzoo.graph.exportable import shape_model, student_of
from kdzoo.graph.keras_internals import flatten_layers, functional_of
from kdzoo.graph.surgery import compile_like, rebuild
from kdzoo.utils import shown


def check_layer_or_model(argument: str, given: Any) -> None:
    """Raises unless the argument of this name is a `keras.Model` or a `keras.layers.Layer`."""
    if not isinstance(given, keras.layers.Layer):
        raise ValueError(
            "Expected a functional or sequential `keras.Model`, a `keras.layers.Layer`, or a list "
            f"of layers. Received: {argument}={shown(given)} of type {type(given).__name__}"
        )


def check_not_compressed(given: keras.layers.Layer) -> None:
    """Raises for a model that something else is done to, and for one that trains another."""
    check_no_distiller(given)
    if isinstance(given, WrappedModel | WrappedLayer):
        raise ValueError(
            f"Expected what is plain. Received: {given.name!r}, a {type(given).__name__}, which is "
            "being pruned, clustered or quantized already: pass `strip_pruning(model)` or "
            "`strip_clustering(model)`."
        )


def passes(layer: keras.layers.Layer) -> bool:
    """Whether TF-MOT hands a layer through: it has no kernel, as activations and normalizations.

    Of a depthwise convolution, which has one and keeps all of it, it is told instead.
    """
    return knows_no_weights(layer) and not isinstance(layer, keras.layers.DepthwiseConv2D)


def with_reasons(reasons: dict[str, str]) -> str:
    """Returns "a, b (why); c (why)" of path -> why."""
    paths: dict[str, list[str]] = {}
    for path, reason in reasons.items():
        paths.setdefault(reason, []).append(path)
    return "; ".join(f"{', '.join(of_one)} ({reason})" for reason, of_one in paths.items())


def tf_keras_layers_of(model: keras.Model, built: bool = True) -> list[Any]:
    """Returns the tf_keras layers, TF-MOT's wrappers among them, that a model computes with.

    Args:
        model: A wrapped model, one with wrapped parts, or a Distiller with such a student.
        built: Whether all of them must be built; else those that are not are left out.

    Raises:
        ValueError: If a wrapped layer is not built that must be.
    """
    found = []
    for layer in flatten_layers(model):
        if isinstance(layer, WrappedModel):
            found += layer.wrapped.layers
        elif isinstance(layer, WrappedLayer):
            if layer.wrapped is None and not built:
                continue
            if layer.wrapped is None:
                raise ValueError(
                    "Expected a built model: give it a `keras.Input` as its first layer, or call "
                    f"it once. Received: {model.name!r}, whose {layer.name!r} is not built"
                )
            found.append(layer.wrapped)
    return found


def wrapped_parts(
    model: keras.layers.Layer, classes: tuple[type, ...] = (WrappedLayer, WrappedModel)
) -> list[keras.layers.Layer]:
    """Returns the wrapped layers and models within a model, its nested models and its student.

    Args:
        model: A `keras.Model`.
        classes: Of which they are.
    """
    layers = flatten_layers(model, include_self=False)
    return [layer for layer in layers if isinstance(layer, classes)]


def without_wrappers(model: keras.Model) -> keras.Model:
    """Returns a copy of a model with plain layers, and their present weights, for wrapped ones.

    Args:
        model: A functional or sequential `keras.Model`.

    Raises:
        ValueError: If the model is subclassed, or a wrapped layer is within a composite layer.
    """

    def replace(
        layer: keras.Operation, path: str
    ) -> keras.Model | tuple[keras.layers.Layer, list[np.ndarray]] | None:
        if isinstance(layer, WrappedModel):
            return layer.plain_model()
        is_wrapped = isinstance(layer, WrappedLayer)
        if (
            not is_wrapped
            and isinstance(layer, keras.layers.Layer)
            and functional_of(layer) is None
        ):
            check_nothing_inside(layer)
        return (layer.plain_layer(), layer.plain_weights()) if is_wrapped else None

    if shape_model(model) is None:
        check_nothing_inside(model)
    return compile_like(rebuild(model, replace), model)


def check_nothing_inside(layer: keras.layers.Layer) -> None:
    """Raises if there are wrapped layers within a composite layer, or a subclassed model."""
    inside = wrapped_parts(layer)
    if inside:
        raise ValueError(
            "Expected wrapped layers in the graph of a functional or sequential model. Received: "
            f"{inside[0].name!r} within {layer.name!r}, a {type(layer).__name__}: make that anew "
            "with plain layers, and set their weights to the `plain_weights()` of the wrapped ones."
        )


def plain_copy(model: keras.Model) -> keras.Model | None:
    """Returns the plain Keras 3 model, a new one, of one that is compressed, or None.

    What is pruned is masked first, as the next training step would.

    Args:
        model: A wrapped model, one with wrapped parts, or a Distiller with such a student.
    """
    student = student_of(model)
    model = model if student is None else student
    mask_weights(model)
    if isinstance(model, WrappedModel):
        return model.plain_model()
    return without_wrappers(model) if wrapped_parts(model) else None


def mask_weights(model: keras.Model) -> None:
    """Sets the masked weights of all pruned layers in a model to zero."""
    for layer in tf_keras_layers_of(model):
        if getattr(layer, "pruning_vars", None):
            strategy = getattr(layer.pruning_step, "distribute_strategy", None)
            with contextlib.nullcontext() if strategy is None else strategy.scope():
                layer.pruning_obj.weight_mask_op()
