"""Single Keras 3 layers as the layers of tf_keras that compute the same."""

import inspect
from typing import Any

import keras
import numpy as np

from kdzoo.compression.tfmot.library import load_tf_keras
from kdzoo.compression.tfmot.tf_keras_activations import described, take_composed_activation
from kdzoo.compression.tfmot.unsupported_layers import cannot_clone
from kdzoo.utils import shown
from kdzoo.utils.field_checks import is_plain

_LEFT_OUT = ("_initializer", "_regularizer", "_constraint")
_NOT_ARGUMENTS = ("name", "dtype", "trainable", "layer", "backward_layer", "build_config", "cell")
_RENAMED = {("LeakyReLU", "negative_slope"): "alpha"}
# What layers of tf_keras may be told in words.
_WORDS = frozenset(
    {"valid", "same", "causal", "channels_first", "channels_last", "nearest", "bilinear"}
    | {"bicubic", "area", "lanczos3", "lanczos5", "gaussian", "mitchellcubic"}
    | {"sum", "mul", "concat", "ave", "int", "one_hot", "multi_hot", "count"}
    | {"reflect", "wrap", "constant", "horizontal", "vertical", "horizontal_and_vertical"}
)


def make(layer_class: type, *args: Any, **kwargs: Any) -> Any:
    """Makes a layer of tf_keras of plain values, which are all that it may be given.

    Whatever a configuration of Keras 3 holds comes here; tf_keras would take a dictionary in it for
    an object to be made, as soon as the layer is cloned.

    Args:
        layer_class: The class of the layer.
        *args: Its arguments: numbers, words, lists of such, arrays of numbers, or other layers.
        **kwargs: Its keyword arguments, of these types too.

    Raises:
        ValueError: If an argument is something else.
    """
    for value in (*args, *kwargs.values()):
        # Layers of tf_keras, in a wrapper, or the cells of a recurrent one.
        parts = value if isinstance(value, list) and value else [value]
        is_made = all(hasattr(part, "count_params") for part in parts)
        is_array = isinstance(value, np.ndarray) and value.dtype.kind in "biuf"
        if not (is_made or is_array or is_plain(value)):
            raise ValueError(
                f"Expected numbers and words for a {layer_class.__name__}. Received: "
                f"{repr(value)[:80]}"
            )
    return layer_class(*args, **kwargs)


def clone_of_layer(layer: keras.layers.Layer) -> Any:
    """Returns a tf_keras layer, not built, that computes what a single Keras 3 layer computes.

    Raises:
        ValueError: If there is none; the error says why.
    """
    return _whole(layer, layer.name, layer.name)


def split_layer(layer: keras.layers.Layer, path: str, name: str) -> tuple[Any, str | None]:
    """Returns a tf_keras layer, not built, and the name of the activation that it needs after it.

    Args:
        layer: The Keras 3 layer.
        path: Its path in the user's model, for the error.
        name: Name of the tf_keras layer.

    Returns:
        The layer, and one of `COMPOSED_ACTIVATIONS`, or None if the layer computes it.

    Raises:
        ValueError: If tf_keras has no such layer; the error says why.
    """
    class_name = type(layer).__name__
    theirs = getattr(load_tf_keras().layers, class_name, None)
    if theirs is None or type(layer) is not getattr(keras.layers, class_name, None):
        raise cannot_clone(path, class_name, "tf_keras has no such layer")
    if class_name == "Lambda":
        raise cannot_clone(path, class_name, "its function cannot be carried over")
    if isinstance(layer, keras.layers.Normalization):
        return _normalization(layer, name), None
    config = layer.get_config()
    composed = take_composed_activation(config, path, class_name)
    arguments = _arguments(layer, config, theirs, path)
    if isinstance(layer, keras.layers.Bidirectional):
        for field, inner in (("layer", "forward"), ("backward_layer", "backward")):
            wrapped = getattr(layer, f"{inner}_layer")
            arguments[field] = _whole(wrapped, f"{path}/{wrapped.name}", inner, " in a wrapper")
    elif isinstance(layer, keras.layers.Wrapper):
        where = f"{path}/{layer.layer.name}"
        arguments["layer"] = _whole(layer.layer, where, "inner", " in a wrapper")
    elif class_name == "RNN":
        cells = getattr(layer.cell, "cells", [layer.cell])
        cells = [_whole(cell, f"{path}/{cell.name}", cell.name, " in a cell") for cell in cells]
        arguments["cell"] = cells if len(cells) > 1 else cells[0]
    arguments.update(name=name, dtype=layer.dtype_policy.name)
    try:
        return make(theirs, **arguments), composed
    except (TypeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise cannot_clone(path, class_name, f"tf_keras does not make it ({reason})") from error


def _whole(layer, path, name, where=", so put it in a layer of its own"):
    """A tf_keras layer that computes its activation too."""
    made, activation = split_layer(layer, path, name)
    if activation:
        reason = f"tf_keras has no activation {activation!r}{where}"
        raise cannot_clone(path, type(layer).__name__, reason)
    return made


def _arguments(layer, config, theirs, path):
    """What of a layer's configuration the layer of tf_keras takes."""
    class_name = type(layer).__name__
    regularizes = isinstance(layer, keras.layers.ActivityRegularization)
    if regularizes or config.pop("activity_regularizer", None) is not None:
        reason = "an activity regularizer cannot be carried over"
        raise cannot_clone(path, class_name, reason)
    if getattr(layer, "quantization_mode", None) or getattr(layer, "lora_enabled", False):
        raise cannot_clone(path, class_name, "it is quantized or has LoRA enabled")
    usual = inspect.signature(type(layer).__init__).parameters
    known = inspect.signature(theirs.__init__).parameters
    arguments = {"trainable": layer.trainable}
    for name, value in config.items():
        if name.endswith(_LEFT_OUT) or name in _NOT_ARGUMENTS:
            continue
        renamed = _RENAMED.get((class_name, name), name)
        if renamed in known:
            if not _is_argument(renamed, value):
                reason = f"tf_keras is not given {name}={described(value)}"
                raise cannot_clone(path, class_name, reason)
            arguments[renamed] = value
        elif name == "data_format" and value == keras.config.image_data_format():
            continue
        elif name in usual and value not in (usual[name].default, None):
            raise cannot_clone(path, class_name, f"tf_keras knows no {name}={shown(value)}")
    return arguments


def _normalization(layer, name):
    """A `Normalization` with its statistics as constants: Keras has two weights, tf_keras three."""
    mean, variance = (
        None if statistic is None else keras.ops.convert_to_numpy(statistic)
        for statistic in (layer.mean, layer.variance)
    )
    return make(
        load_tf_keras().layers.Normalization,
        layer.axis,
        mean,
        variance,
        invert=layer.invert,
        name=name,
        dtype=layer.dtype_policy.name,
    )


def _is_argument(name, value):
    """Whether a value of a configuration may be given to tf_keras, whose layers make objects of
    dictionaries and open files of strings.
    """
    if isinstance(value, str):
        return value in _WORDS or name.endswith("activation")
    return is_plain(value) and not any(isinstance(leaf, str) for leaf in keras.tree.flatten(value))
