"""What differs between a layer's configuration in Keras 2 and in Keras 3, rule by rule.

`docs/files.md` has the table; `tests/zoo/test_keras_2_rules.py` a file of tf_keras 2 for each rule.
"""

import inspect
from collections.abc import Callable
from typing import Any

import keras

PARTS = ("initializer", "regularizer", "constraint")
"""How arguments end that a layer takes them by."""

ANY = None  # An argument that changes no output, whatever its value is.
RECURRENT = ("SimpleRNN", "LSTM", "GRU", "RNN", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D")
CLASSES = {
    "BatchNormalizationV1": "BatchNormalization",
    "BatchNormalizationV2": "BatchNormalization",
    "SyncBatchNormalization": "BatchNormalization",
    "CuDNNGRU": "GRU",
    "CuDNNLSTM": "LSTM",
    "UnifiedGRU": "GRU",
    "UnifiedLSTM": "LSTM",
    "ThresholdedReLU": "ReLU",
}
"""Class in Keras 2 -> the class of Keras 3 that computes the same."""

DROPPED: dict[str, tuple | None] = {
    "activity_regularizer": (None,),
    "adjustment": (None,),
    "batch_input_shape": ANY,
    "causal": (False,),
    "dynamic": (False,),
    "enable_caching_device": ANY,
    "fused": ANY,
    "groups": (1,),
    "implementation": ANY,
    "input_dtype": ANY,
    "input_length": ANY,
    "kernel_constraint": (None,),
    "kernel_initializer": ANY,
    "kernel_regularizer": ANY,
    "key_shape": ANY,
    "noise_shape": (None,),
    "num_constants": (None, 0),
    "query_shape": ANY,
    "ragged": (False, None),
    "renorm": (False,),
    "renorm_clipping": ANY,
    "renorm_momentum": ANY,
    "rng_type": ANY,
    "softmax_robust_masking": (False, None),
    "time_major": (False,),
    "trainable": ANY,
    "value_shape": ANY,
    "virtual_batch_size": (None,),
    "weights": (None,),
}
"""Argument -> the values with which it is dropped where the class of Keras 3 does not have it."""

RENAMED = {
    "alpha": ("LeakyReLU", "negative_slope"),
    "batch_input_shape": ("InputLayer", "batch_shape"),
    "experimental_autocast": (None, "autocast"),
    "theta": ("ReLU", "threshold"),
}
"""Argument -> the class whose it is (None: any) and its name in Keras 3."""

_OF_EVERY_LAYER = {"activity_regularizer", "autocast", "dtype", "name", "trainable"}


def serialized(
    module: str, name: str, config: dict[str, Any], registered: str | None = None
) -> dict[str, Any]:
    """Returns a part of a model as Keras 3 serializes it.

    Args:
        module: The module of its class.
        name: The name of its class.
        config: What it is made with.
        registered: The name that its class is registered under.
    """
    return {
        "module": module,
        "class_name": name,
        "config": config,
        "registered_name": registered,
    }


def with_new_names(name: str, old_name: str, config: dict[str, Any]) -> dict[str, Any]:
    """Renames arguments, and says what an old class did besides."""
    found = {}
    for key, value in config.items():
        owner, new = RENAMED.get(key, ("", key))
        found[new if owner in (None, name) else key] = value
    if old_name == "SyncBatchNormalization" and keras.backend.backend() == "tensorflow":
        found["synchronized"] = True
    return found


def with_one_axis(name: str, old_name: str, config: dict[str, Any]) -> dict[str, Any]:
    """Makes the axis of a batch normalization, a list of one in TensorFlow's Keras, an integer."""
    axis = config.get("axis")
    if name != "BatchNormalization" or not isinstance(axis, list):
        return config
    if len(axis) != 1:
        raise ValueError(f"axis={axis}, of which Keras 3 takes one")
    return {**config, "axis": axis[0]}


def with_old_defaults(name: str, old_name: str, config: dict[str, Any]) -> dict[str, Any]:
    """Says what an argument was before there was one, where Keras 3 begins otherwise."""
    if name in ("GRU", "GRUCell") and "reset_after" not in config:
        return {**config, "reset_after": old_name == "CuDNNGRU"}
    return config


def with_old_activations(name: str, old_name: str, config: dict[str, Any]) -> dict[str, Any]:
    """Keeps the slope of `hard_sigmoid`, and takes the names that some versions gave others."""
    found = dict(config)
    for key, value in config.items():
        if key.endswith("activation") and isinstance(value, str):
            value = value.removesuffix("_v2")
            found[key] = _old_hard_sigmoid() if value == "hard_sigmoid" else value
    return found


def _old_hard_sigmoid():
    name = "HardSigmoidOfKeras2"
    config = {"dtype": "float32"}
    return serialized("kdzoo.graph.old_activations", name, config, f"kdzoo>{name}")


def with_own_activations(name: str, old_name: str, config: dict[str, Any]) -> dict[str, Any]:
    """Takes layers that are registered here under the names of functions that Keras 3 lacks."""
    found = dict(config)
    for key, value in config.items():
        if key.endswith("activation") and isinstance(value, str):
            found[key] = _known_activation(key, value)
    return found


def _known_activation(key, value):
    try:
        keras.activations.get(value)
    except ValueError:
        own = keras.saving.get_registered_object(value)
        if isinstance(own, type) and issubclass(own, keras.layers.Layer):
            return serialized("builtins", own.__name__, {}, value)
        raise ValueError(
            f"{key}={value!r}, a function that Keras 3 does not have; write a layer that computes "
            f"it, and load the file within `keras.saving.custom_object_scope({{{value!r}: Layer}})`"
        ) from None
    return value


def with_own_parts(name: str, old_name: str, config: dict[str, Any]) -> dict[str, Any]:
    """Lets an initializer that is not known here be zeros, as the file has the weights."""
    found = dict(config)
    for key, value in config.items():
        part = next((part for part in PARTS if key.endswith(part)), None)
        label = value.get("class_name") if isinstance(value, dict) else value
        if part is None or not isinstance(label, str) or _is_known(part, value):
            continue
        own = keras.saving.get_registered_object(label)
        if isinstance(own, type):  # Under the name of a function.
            found[key] = serialized("builtins", own.__name__, {}, label)
        elif part == "initializer":
            found[key] = serialized("keras.initializers", "Zeros", {})
        else:
            raise ValueError(f"{key}={label!r}, {_without(part, label)}")
    return found


def _without(part, label):
    """Returns what to do about a regularizer or a constraint that is not known here."""
    if label == "__lambda__":
        return "which is code; it changes no output: save the model without it"
    return (
        "which is neither of Keras 3 nor registered here; it changes no output: save the model "
        f"without it, or write a class of a {part} of Keras 3 and load the file within "
        f"`keras.saving.custom_object_scope({{{label!r}: Class}})`"
    )


def _is_known(part, value):
    """Whether an initializer, regularizer or constraint can be made here."""
    owner = getattr(keras, f"{part}s")
    if isinstance(value, dict):
        registered = keras.saving.get_registered_object(value.get("registered_name"))
        return registered is not None or isinstance(getattr(owner, value["class_name"], None), type)
    try:
        owner.get(value)
    except ValueError:
        return False
    return True


def without_dropped(name: str, old_name: str, config: dict[str, Any]) -> dict[str, Any]:
    """Drops what Keras 3 does not have where it changes nothing; raises where it does."""
    accepted = arguments_of(getattr(keras.layers, name))
    found = {}
    for key, value in config.items():
        if key in accepted:
            found[key] = value
            continue
        allowed = DROPPED.get(key, ())
        if allowed is not None and value not in allowed:
            raise ValueError(f"{key}={value!r}, which Keras 3 does not have")
    return found


def arguments_of(owner: type) -> set[str]:
    """Returns the names of the arguments that a class of Keras can be made with."""
    names: set[str] = set()
    for base in owner.__mro__:
        if "__init__" not in vars(base) or not base.__module__.startswith("keras."):
            continue
        parameters = inspect.signature(vars(base)["__init__"]).parameters
        names |= set(parameters)
        if not any(one.kind is one.VAR_KEYWORD for one in parameters.values()):
            return names - {"self"}  # It hands nothing on to those that it derives from.
    return names - {"self", "args", "kwargs"} | _OF_EVERY_LAYER


RULES: tuple[Callable[[str, str, dict[str, Any]], dict[str, Any]], ...] = (
    with_new_names,
    with_one_axis,
    with_old_defaults,
    with_old_activations,
    with_own_activations,
    without_dropped,
    with_own_parts,
)
"""Functions of a layer's class in Keras 3, its class in the file, and its arguments."""

RULES_OF_KERAS_3 = (with_own_activations, with_own_parts)
"""The rules that are for what Keras 3 wrote too."""
