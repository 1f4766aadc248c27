"""How layers are quantized, to and from files: TF-MOT's `QuantizeConfig`s, every field checked."""

import functools
import inspect
from typing import Any

import keras

from kdzoo.compression.tfmot.config_checks import is_bits, is_lists_of_names, is_names
from kdzoo.compression.tfmot.library import load_tf_keras, load_tfmot, quantize_config_classes
from kdzoo.utils import first_line, shown
from kdzoo.utils.field_checks import (
    DEEPEST,
    check_fields,
    is_boolean,
    is_finite_number,
    is_plain_tree,
)

_NESTED = {"OutputOnlyConfig": "quantize_config", "FixedQuantizeConfig": "config"}
"""Classes that hold another configuration, and the name of the field that it stands in."""

_OF_LAYERS = {
    "weight_attrs": is_names,
    "activation_attrs": is_names,
    "quantize_output": is_boolean,
}
_OF_CELLS = {**_OF_LAYERS, "weight_attrs": is_lists_of_names, "activation_attrs": is_lists_of_names}
_OF_OUTPUTS = {"quantize_output": is_boolean}
_BITS = {"num_bits_weight": is_bits, "num_bits_activation": is_bits}
_RANGE = {
    "num_bits": is_bits,
    "init_min": is_finite_number,
    "init_max": is_finite_number,
    "narrow_range": is_boolean,
}

_FIELDS = {
    "Default8BitActivationQuantizeConfig": _OF_OUTPUTS,
    "Default8BitConvQuantizeConfig": _OF_LAYERS,
    "Default8BitConvTransposeQuantizeConfig": _OF_LAYERS,
    "Default8BitOutputQuantizeConfig": _OF_OUTPUTS,
    "Default8BitQuantizeConfig": _OF_LAYERS,
    "Default8BitQuantizeConfigRNN": _OF_CELLS,
    "DefaultNBitActivationQuantizeConfig": _BITS,
    "DefaultNBitConvQuantizeConfig": {**_OF_LAYERS, **_BITS},
    "DefaultNBitConvTransposeQuantizeConfig": {**_OF_LAYERS, **_BITS},
    "DefaultNBitOutputQuantizeConfig": _BITS,
    "DefaultNBitQuantizeConfig": {**_OF_LAYERS, **_BITS},
    "DefaultNBitQuantizeConfigRNN": {**_OF_CELLS, **_BITS},
    "FixedQuantizeConfig": _RANGE,
    "NoOpQuantizeConfig": {},
    "OutputOnlyConfig": {},
}
"""Name of a class of TF-MOT -> name of a field -> whether a value of a file fits it."""


def as_quantize_config(given: Any) -> Any:
    """Returns a `QuantizeConfig` from one, from its form in a file, or None.

    Of a file, TF-MOT's own classes are taken by their names with the fields that they have, and
    classes of the user's that are registered and derived from `QuantizeConfig`, with plain values.

    Args:
        given: A `QuantizeConfig`, a dictionary as `quantize_config_as_fields` returns it, or None.

    Raises:
        ValueError: If it is something else. Nothing was made then.
    """
    if given is None:
        return None
    if isinstance(given, dict):
        return _from_fields(given)
    if not isinstance(given, load_tfmot().quantization.keras.QuantizeConfig):
        raise ValueError(
            "Expected `quantize_config` to be a `QuantizeConfig` of TF-MOT. Received: "
            f"quantize_config={shown(given)}"
        )
    return given


def quantize_config_as_fields(config: Any) -> dict[str, Any] | None:
    """Returns the form of a `QuantizeConfig` in files, a dictionary; None of None."""
    if config is None:
        return None
    config_class = type(config)
    name = config_class.__name__
    fields = dict(config.get_config())
    nested = _NESTED.get(name) if config_class in quantize_config_classes().values() else None
    if nested is not None:
        fields[nested] = quantize_config_as_fields(getattr(config, nested))
    return {
        "class_name": name,
        "registered_name": keras.saving.get_registered_name(config_class),
        "config": fields,
    }


def check_attributes(layer: Any, config: Any, path: str) -> None:
    """Raises unless a configuration names weights and activations that a layer has.

    Args:
        layer: The built tf_keras layer that is to be quantized.
        config: Its `QuantizeConfig`, or None.
        path: Path of the layer in the user's model, for the error.

    Raises:
        ValueError: If a name is none of a weight, or of an activation.
    """
    if type(config).__name__ in _NESTED:
        config = getattr(config, _NESTED[type(config).__name__])
    if type(config) not in quantize_config_classes().values():
        return  # A class of the user's own, which reads what it likes.
    is_rnn = type(config).__name__.endswith("RNN")
    cells = _cells(layer) if is_rnn else [layer]
    for field, fits in (("weight_attrs", _is_weight), ("activation_attrs", callable)):
        names = getattr(config, field, [])
        for cell, of_cell in zip(cells, names if is_rnn else [names], strict=False):
            for name in of_cell:
                if not fits(getattr(cell, name, None)):
                    what = "a weight" if field == "weight_attrs" else "an activation"
                    raise ValueError(
                        f"Expected the name of {what} of {path!r}, a {type(layer).__name__}, in "
                        f"the {field} of its `quantize_config`. Received: {name!r}"
                    )


def _cells(layer):
    cell = getattr(layer, "cell", None)
    return getattr(cell, "cells", [cell])


def _is_weight(value):
    """Whether a value is a variable of TensorFlow."""
    return hasattr(value, "assign") and hasattr(value, "shape")


def _from_fields(given):
    """A `QuantizeConfig` from its form in a file."""
    name, fields = given.get("class_name"), given.get("config", {})
    if not isinstance(name, str):
        raise ValueError(
            f"Expected the name of a class in a quantize_config. Received: class_name={name!r}"
        )
    known = quantize_config_classes().get(name)
    if known is None:
        return _of_the_user(name, given.get("registered_name"), fields)
    checks = _FIELDS[name]
    nested = _NESTED.get(name)
    if nested is None:
        check_fields(name, fields, checks, optional=_defaults(known))
        return known(**fields)
    check_fields(name, fields, {**checks, nested: lambda inner: isinstance(inner, dict)})
    if fields[nested].get("class_name") in _NESTED:
        raise ValueError(
            f"Expected a configuration that holds no other within a {name}. Received: "
            f"{fields[nested]['class_name']}"
        )
    return known(**{**fields, nested: _from_fields(fields[nested])})


@functools.cache
def _defaults(config_class):
    """The arguments of a class that may be left out."""
    parameters = inspect.signature(config_class.__init__).parameters.values()
    return frozenset(p.name for p in parameters if p.default is not p.empty)


def _of_the_user(name, registered_name, fields):
    """An object of a class that the user has registered."""
    base = load_tfmot().quantization.keras.QuantizeConfig
    tf_keras = load_tf_keras()
    found = [
        keras.saving.get_registered_object(part)
        for part in (registered_name, name)
        if isinstance(part, str)
    ]
    found.append(tf_keras.utils.get_registered_object(name))  # In a scope of TF-MOT's own.
    known = next((part for part in found if isinstance(part, type)), None)
    if known is None or not issubclass(known, base):
        raise ValueError(
            "Expected a `QuantizeConfig` that is known here; register your own with "
            f"`keras.saving.register_keras_serializable()`. Received: {name[:80]!r}"
        )
    if not isinstance(fields, dict) or not is_plain_tree(_without_quantizers(fields)):
        raise ValueError(
            f"Expected numbers, short strings and lists of such in the configuration of a {name}. "
            "Received: something else, which nothing but its own class may make of a file"
        )
    try:
        made = known.from_config(fields)
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(
            f"Expected the configuration of a {name}. Received: one that it does not take "
            f"({first_line(error)})"
        ) from error
    if not isinstance(made, base):
        raise ValueError(f"Expected a {name}. Received: a {type(made).__name__}")
    return made


_QUANTIZER = {
    "num_bits": is_bits,
    "per_axis": is_boolean,
    "symmetric": is_boolean,
    "narrow_range": is_boolean,
}
_QUANTIZERS = {
    "AllValuesQuantizer": _QUANTIZER,
    "FixedQuantizer": _RANGE,
    "LastValueQuantizer": _QUANTIZER,
    "MovingAverageQuantizer": _QUANTIZER,
    "NoQuantizer": {},
}


def _without_quantizers(value, depth=0):
    """A configuration with None for TF-MOT's quantizers in it, whose fields are checked."""
    if depth > DEEPEST:
        return value
    if isinstance(value, list | tuple):
        return [_without_quantizers(part, depth + 1) for part in value]
    if not isinstance(value, dict):
        return value
    name = value.get("class_name")
    if isinstance(name, str) and name in _QUANTIZERS and set(value) == {"class_name", "config"}:
        check_fields(name, value["config"], _QUANTIZERS[name])
        return None
    return {key: _without_quantizers(part, depth + 1) for key, part in value.items()}
