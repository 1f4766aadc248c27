"""Models as configurations: written without code, read without trust, and built again."""

import contextlib
import json
import os
import textwrap
from collections.abc import Iterator
from typing import Any

import keras

from kdzoo.graph.keras_internals import flatten_layers
from kdzoo.utils import first_line, naming, shown
from kdzoo.zoo.safetensors_weights import named_weights


def check_has_graph(model: Any) -> None:
    """Raises `ValueError` unless a model is functional, or sequential and built."""
    if not isinstance(model, keras.Model) or not getattr(model, "inputs", None):
        raise ValueError(
            "Expected a functional keras.Model, or a sequential one that is built, of a Distiller "
            f"its `.student`. Received: {shown(getattr(model, 'name', model))}, a "
            f"{type(model).__name__}"
        )


def serialized(model: keras.Model) -> dict[str, Any]:
    """Returns the configuration of a model as JSON holds it, without how it was compiled."""
    try:
        with _not_compiled(model):
            config = json.loads(json.dumps(keras.saving.serialize_keras_object(model)))
    except (TypeError, NotImplementedError) as error:
        raise ValueError(
            f"Expected layers that Keras can serialize in {model.name!r}. Received: "
            f"{first_line(error)}"
        ) from error
    return without_compilation(config)  # Which left an empty dictionary in each model.


def deserialized(config: dict[str, Any], path: os.PathLike[str] | str) -> keras.Model:
    """Returns the model of a checked configuration, the content of a file."""
    try:
        model = keras.saving.deserialize_keras_object(config, safe_mode=True)
    except Exception as error:  # A damaged configuration leads Keras to any exception.
        raise ValueError(
            f"Expected a model in {path} that this Keras can build. Received: {_reason(error)}"
        ) from error
    if not isinstance(model, keras.Model):
        raise ValueError(f"Expected a model in {path}. Received: a {type(model).__name__}")
    try:
        named_weights(model)
    except ValueError as error:
        raise naming(path, error) from error
    return model


def _reason(error):
    """Returns in one line what is wrong with the innermost part that Keras could not build."""
    lines = str(error).rpartition("Exception encountered: ")[2].strip().splitlines()
    return textwrap.shorten(lines[0] if lines else type(error).__name__, 200)


def check_keeps_weights_only(model: keras.Model) -> None:
    """Raises if a custom layer saves more than its weights into Keras's files."""
    for layer in flatten_layers(model):
        for method in ("save_own_variables", "save_assets"):
            owner = next((base for base in type(layer).__mro__ if method in vars(base)), object)
            if owner is not object and owner.__module__.partition(".")[0] != "keras":
                raise ValueError(
                    "Expected layers that keep nothing but weights and configuration. Received: "
                    f"{layer.name!r}, a {type(layer).__name__}, which has a {method} of its own; "
                    "make what it keeps a weight, or share the model as a .keras file."
                )


def built_again(model: keras.Model, config: dict[str, Any]) -> keras.Model:
    """Returns the model of a configuration, or raises `ValueError` if it has other weights.

    Args:
        model: The model.
        config: What `serialized` returned for it.
    """
    try:
        rebuilt = keras.saving.deserialize_keras_object(json.loads(json.dumps(config)))
    except Exception as error:  # Keras may raise any exception.
        raise ValueError(
            "Expected a model that Keras can build again from its configuration, which it "
            "cannot where an argument is a lambda or a layer makes weights only when it is "
            f"called. Received: {model.name!r}: {_reason(error)}"
        ) from error
    differing = named_weights(model).keys() ^ named_weights(rebuilt).keys()
    if differing:
        raise ValueError(
            "Expected a model whose weights have the same names when it is built again; give "
            "the layers within custom layers names of their own. Received: "
            f"{sorted(differing)[0]!r} in {model.name!r}"
        )
    return rebuilt


@contextlib.contextmanager
def _not_compiled(model: keras.Model) -> Iterator[None]:
    """Hides within the block how models were compiled, because it need not be serializable."""
    compiled = [
        layer
        for layer in flatten_layers(model)
        if isinstance(layer, keras.Model) and layer.compiled
    ]
    for inner in compiled:
        inner.compiled = False
    try:
        yield
    finally:
        for inner in compiled:
            inner.compiled = True


def without_compilation(config: Any) -> Any:
    """Returns the configuration without the settings of `compile`, at any depth."""
    if isinstance(config, dict):
        kept = {key: value for key, value in config.items() if key != "compile_config"}
        return {key: without_compilation(value) for key, value in kept.items()}
    return [without_compilation(item) for item in config] if isinstance(config, list) else config
