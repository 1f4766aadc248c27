"""What a model from others may consist of: known layers that run, open and fetch nothing."""

import re
import sys
from collections.abc import Iterator
from typing import Any

import keras

from kdzoo.utils import shown
from kdzoo.zoo.keras_2_rules import PARTS

# The modules of the parts of a model, and other names that Keras writes into a configuration.
_PARTS = ("initializers", "layers", "regularizers", "constraints", "dtype_policies", "models")
_KERAS = (*(f"keras.{module}" for module in _PARTS), "keras.src.models.", "keras.src.ops.")
_FROM_KERAS = {
    *("DTypePolicy", "DTypePolicyMap", "FloatDTypePolicy"),
    *("Functional", "Model", "Sequential"),
}
_VALUES = {"__keras_tensor__", "__numpy__", "__tensor__", "__tuple__", "__slice__", "__ellipsis__"}
_NUMBERS = re.compile(r"bool|u?int(8|16|32|64)|float(16|32|64)|bfloat16|complex(64|128)")
_LONGEST = 120  # Characters of a name that an error repeats.
# Layers of Keras that are refused, and why.
_REFUSED = {
    "Lambda": "runs code",
    "TFSMLayer": "opens a SavedModel",
    "JaxLayer": "runs code",
    "FlaxLayer": "runs code",
    "TorchModuleWrapper": "opens a pickle",
    "StringLookup": "may open a file",
    "IntegerLookup": "may open a file",
    "TextVectorization": "may open a file",
}


def is_refused(name: str) -> bool:
    """Whether a layer of Keras of this name is never loaded."""
    return name in _REFUSED


def check_parts(config: Any) -> None:
    """Raises unless every part that a configuration of Keras names is known and runs no code.

    Args:
        config: A configuration as `keras.saving.serialize_keras_object` returns it for a model,
            from a source that need not be trusted.

    Raises:
        ValueError: If it names a layer that runs code or opens files, a function, a layer that is
            being compressed, or a class that is neither Keras's own nor registered here.
    """
    for part in _parts(config):
        name, module = part["class_name"], part.get("module") or ""
        if not isinstance(module, str):
            raise ValueError(f"Expected the name of a module for a {name}. Received: {module!r}")
        if name in ("__numpy__", "__tensor__"):
            _check_array(part)
        registered = _registered(part)
        if getattr(registered, "__module__", "").startswith("kdzoo.compression"):
            raise _being_compressed(part, name)
        _check_refused(part, name)
        if module.startswith("keras.quantizers"):
            raise ValueError(
                "Expected a model that Keras has not quantized. Received: one with a "
                f"{name}; save it before `quantize`."
            )
        is_value = name in _VALUES and not module and not part.get("registered_name")
        if not is_value and not _is_of_keras(name, module) and registered is None:
            raise ValueError(
                "Expected layers of Keras, or registered in this process. Received: "
                f"{_holder(config, part)}{_label(part)!r}, a {_brief(name)} of "
                f"{repr(_brief(module)) if module else 'an unknown module'}, registered as "
                f"{shown(part.get('registered_name'))}; {_remedy(module)}."
            )


def _being_compressed(part, name):
    """The error of a model that has a part of kdzoo's own, which a plain one has not."""
    return ValueError(
        "Expected a model that is not being compressed any more. Received: "
        f"{_label(part)!r}, a {_brief(name)}; pass the result of `strip_pruning`, "
        "`strip_clustering`, `strip_binarization`, `strip_masks`, `strip_shared_weights` or "
        "`plain_model()`."
    )


def _check_refused(part, name):
    """Raises if a part is a layer or a function that runs, opens or fetches something."""
    if name in _REFUSED:
        raise ValueError(
            "Expected layers that are safe to load from others. Received: "
            f"{_label(part)!r}, a {name}, which {_REFUSED[name]}; replace it by layers of Keras."
        )
    config = part.get("config")
    for key, value in config.items() if isinstance(config, dict) else ():
        if isinstance(value, dict) and value.get("class_name") == "function":
            if value.get("config") == "kdzoo>binary_sign":
                raise _being_compressed(part, name)
            raise ValueError(
                "Expected layers that are safe to load from others. Received: "
                f"{_label(part)!r}, a {_brief(name)}, with {_brief(key)}= the function "
                f"{shown(value.get('config'))}; make it a registered "
                f"{'class' if key.endswith(PARTS) else 'layer'}."
            )
    if name == "function":
        raise ValueError(
            "Expected layers that are safe to load from others. Received: the function "
            f"{part.get('config')!r}; make it a registered layer."
        )


def _holder(config, part):
    """Returns the layer and its argument that a part is, for an error; nothing for a layer."""
    for holder in _parts(config):
        inner = holder.get("config")
        for key, value in inner.items() if isinstance(inner, dict) else ():
            if value is part:
                name = _brief(holder["class_name"])
                return f"{_label(holder)!r}, a {name}, with {_brief(key)}="
    return ""


def _remedy(module):
    """Returns what to do about a class of this module that is not known here."""
    if module.startswith("keras.src."):
        return "Keras registers it nowhere, so share the model as a `.keras` file"
    if module.startswith("keras."):
        return "this Keras has none, so update Keras"
    return (
        "import what registers it, or decorate a class of yours with "
        "`keras.saving.register_keras_serializable()`"
    )


def _check_array(part):
    """Raises unless an array in a configuration holds numbers, which determine its size."""
    inner = part.get("config")
    dtype = inner.get("dtype") if isinstance(inner, dict) else None
    if not isinstance(dtype, str) or not _NUMBERS.fullmatch(dtype):
        raise ValueError(
            "Expected arrays of numbers in the configuration of a model. Received: one of type "
            f"{dtype!r}"
        )


def _is_of_keras(name, module):
    """Whether Keras has a class of this name in this module, of which models may consist."""
    if module == "keras":
        return name in _FROM_KERAS
    if not module.startswith(_KERAS):
        return False
    found = getattr(sys.modules.get(module), name, None)
    if not isinstance(found, type) or not found.__module__.startswith("keras."):
        return False
    return not module.startswith("keras.src.") or issubclass(found, keras.Operation)


def _registered(part):
    """Returns the class that is registered here under both names of a part; None if there is none.

    Keras itself looks at the registered name alone.
    """
    name, registered = part["class_name"], part.get("registered_name")
    is_name = isinstance(registered, str)
    found = keras.saving.get_registered_object(registered) if is_name else None
    if found is not None and getattr(found, "__name__", None) != name:
        raise ValueError(
            f"Expected a {name} under its own name. Received: {_label(part)!r}, registered as "
            f"{registered!r}, which is something else."
        )
    return found if isinstance(found, type) and not name.startswith("__") else None


def _parts(config: Any) -> Iterator[dict[str, Any]]:
    """Yields every part of a configuration that names a class."""
    if isinstance(config, dict):
        if isinstance(config.get("class_name"), str):
            yield config
        config = config.values()
    elif not isinstance(config, list):
        return
    for item in config:
        yield from _parts(item)


def _label(part):
    """Returns the name that the user gave a part, or the name of its class; the beginning of it."""
    inner = part.get("config")
    name = part["class_name"]
    return _brief(inner.get("name", name) if isinstance(inner, dict) else name)


def _brief(name):
    """The beginning of what a file has for a name, which may be of any length."""
    return name[:_LONGEST] + "..." if isinstance(name, str) and len(name) > _LONGEST else name
