"""What a model of others may consist of: known layers that run, open and fetch nothing."""

import re
import sys

# Where Keras keeps what models consist of, and what else it writes into a configuration.
_PARTS = ("initializers", "layers", "regularizers", "constraints", "dtype_policies", "models")
_KERAS = (*(f"keras.{each}" for each in _PARTS), "keras.src.models.", "keras.src.ops.")
_FROM_KERAS = {"DTypePolicy", "DTypePolicyMap", "Functional", "Model", "Sequential"}
_VALUES = {"__keras_tensor__", "__numpy__", "__tensor__", "__tuple__", "__slice__", "__ellipsis__"}
_NUMBERS = re.compile(r"bool|u?int(8|16|32|64)|float(16|32|64)|bfloat16|complex(64|128)")
# Layers of Keras that run, open or fetch something.
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


def check_parts(config):
    """Raises unless everything that a configuration of Keras names is known and runs nothing.

    Args:
        config: What `keras.saving.serialize_keras_object` returns for a model, or what claims to
            be that.

    Raises:
        ValueError: If it names a layer that runs code or opens files, a function, a layer that is
            being compressed, or a class that is neither Keras's own nor registered here.
    """
    for each in _named(config):
        kind, module = each["class_name"], each.get("module") or ""
        if not isinstance(module, str):
            raise ValueError(f"Expected the name of a module for a {kind}. Received: {module!r}")
        if kind in ("__numpy__", "__tensor__"):
            _check_array(each)
        if kind in _REFUSED:
            raise ValueError(
                "Expected layers that are safe to load from others. Received: "
                f"{_name_of(each)!r}, a {kind}, which {_REFUSED[kind]}; replace it by layers of "
                "Keras."
            )
        if kind == "function":
            raise ValueError(
                "Expected layers that are safe to load from others. Received: the function "
                f"{each.get('config')!r}; make it a registered layer."
            )
        registered = _registered(each)
        if getattr(registered, "__module__", "").startswith("kdzoo.compression"):
            raise ValueError(
                "Expected a model that is not being compressed any more. Received: "
                f"{_name_of(each)!r}, a {kind}; take what `strip_pruning`, `strip_clustering` or "
                "`plain_model()` returns."
            )
        if module.startswith("keras.quantizers"):
            raise ValueError(
                "Expected a model that Keras has not quantized. Received: one with a "
                f"{kind}; save it before `quantize`."
            )
        is_value = kind in _VALUES and not module and not each.get("registered_name")
        if not is_value and not _is_of_keras(kind, module) and registered is None:
            remedy = (
                "import what registers it, or decorate a class of yours with "
                "`keras.saving.register_keras_serializable()`"
            )
            if module.startswith("keras.") and not module.startswith("keras.src."):
                remedy = "this Keras has none, so update Keras"
            elif module.startswith("keras."):
                remedy = "Keras registers it nowhere, so share the model as a `.keras` file"
            home = repr(module) if module else "an unknown module"
            raise ValueError(
                "Expected layers of Keras, or registered in this process. Received: "
                f"{_name_of(each)!r}, a {kind} of {home}, "
                f"registered as {each.get('registered_name')!r}; {remedy}."
            )


def _check_array(part):
    """Raises unless an array in a configuration is one of numbers, whose size follows from them."""
    inner = part.get("config")
    dtype = inner.get("dtype") if isinstance(inner, dict) else None
    if not isinstance(dtype, str) or not _NUMBERS.fullmatch(dtype):
        raise ValueError(
            "Expected arrays of numbers in the configuration of a model. Received: one of type "
            f"{dtype!r}"
        )


def _is_of_keras(kind, module):
    """Whether a class of this name is where Keras keeps what models consist of."""
    import keras

    if module == "keras":
        return kind in _FROM_KERAS
    if not module.startswith(_KERAS):
        return False
    found = getattr(sys.modules.get(module), kind, None)
    if not isinstance(found, type) or not found.__module__.startswith("keras."):
        return False
    return not module.startswith("keras.src.") or issubclass(found, keras.Operation)


def _registered(part):
    """The class that this process has registered under just these names; None if there is none.

    Keras goes by the registered name alone.
    """
    import keras

    kind, name = part["class_name"], part.get("registered_name")
    found = keras.saving.get_registered_object(name) if isinstance(name, str) else None
    if found is not None and getattr(found, "__name__", None) != kind:
        raise ValueError(
            f"Expected a {kind} under its own name. Received: {_name_of(part)!r}, registered as "
            f"{name!r}, which is something else."
        )
    return found if isinstance(found, type) and not kind.startswith("__") else None


def _named(config):
    """Yields every part of a configuration that names a class."""
    if isinstance(config, dict):
        if isinstance(config.get("class_name"), str):
            yield config
        config = config.values()
    elif not isinstance(config, list):
        return
    for each in config:
        yield from _named(each)


def _name_of(part):
    inner = part.get("config")
    return inner.get("name", part["class_name"]) if isinstance(inner, dict) else part["class_name"]
