"""Configurations that Keras 2 wrote, and those of HDF5 files, as Keras 3 writes its own."""

import copy
import warnings
from typing import Any

import keras

from kdzoo.graph.keras_internals import operation_class
from kdzoo.utils import shown
from kdzoo.zoo.allowed_layers import check_parts, is_refused
from kdzoo.zoo.keras_2_graphs import functional, is_graph, sequential_layers
from kdzoo.zoo.keras_2_rules import CLASSES, PARTS, RULES, RULES_OF_KERAS_3, serialized

_MODELS = {"Functional": "keras.src.models.functional", "Sequential": "keras"}
_MODEL_NAMES = {"Model": "Functional", "Functional": "Functional", "Sequential": "Sequential"}
_SAVE_AS_KERAS = "where it can be loaded, save the model as a `.keras` file"
_DTYPES = ("Policy", "PolicyV1")
_REMEDIES = {
    **dict.fromkeys(
        ("TFOpLambda", "SlicingOpLambda", "ClassMethod", "InstanceProperty", "InstanceMethod"),
        "replace the operation of TensorFlow by a layer where the model was made",
    ),
    "TensorFlowOpLayer": "replace the operation of TensorFlow by a layer where the model was made",
    "PruneLowMagnitude": "call TF-MOT's `strip_pruning` and save the model again",
    "ClusterWeights": "call TF-MOT's `strip_clustering` and save the model again",
}


def carried_over(config: dict[str, Any], version: int) -> dict[str, Any]:
    """Returns the configuration of a model as Keras 3 serializes it, without how it was compiled.

    Args:
        config: The configuration of a model in an HDF5 file of any version, or in a `.keras` file
            of Keras 2.
        version: The version of the Keras that wrote it, 2 or 3: most rules are for what 2 wrote.

    Raises:
        ValueError: If it has a layer or an argument that Keras 3 does not have; the error names
            both.

    Warns:
        UserWarning: If a model is of a class that is not known here; its graph is carried over.
    """
    return _Carrier(version).model(config)


class _Carrier:
    """Carries over the parts of a model.

    Args:
        version: The version of the Keras that wrote it.
    """

    def __init__(self, version: int) -> None:
        self.is_old = version < 3

    def model(self, part: dict[str, Any]) -> dict[str, Any]:
        """Returns a model."""
        class_name, config = part["class_name"], part["config"]
        if _MODEL_NAMES.get(class_name) == "Sequential":
            config = config if isinstance(config, dict) else {"layers": config}
            content = {
                "name": config.get("name") or "sequential",
                "layers": sequential_layers(config["layers"], self.layer),
                **_chosen(config, ("trainable", "build_input_shape")),
            }
            return serialized(_MODELS["Sequential"], "Sequential", content)
        if not is_graph(config):
            raise ValueError(
                f"Expected a functional or sequential model. Received: {_label(part)!r}, of the "
                f"class {class_name!r}, whose layers only its code knows; where that code is, make "
                "a functional model of its layers, `keras.Model(inputs, outputs)`, and save that"
            )
        content = functional(config, self.layer, self.is_old)
        if class_name not in _MODEL_NAMES:
            if _is_here(part):
                return _of_own_class(part, content)
            _warn_of_own_class(part)
        return serialized(_MODELS["Functional"], "Functional", content, "Functional")

    def layer(self, part: dict[str, Any]) -> dict[str, Any]:
        """Returns a layer, which may be a model."""
        old_name, config = part["class_name"], part["config"]
        if is_graph(config) or (old_name in _MODEL_NAMES and not _is_custom(part)):
            return self.model(part)
        if _is_custom(part):
            return _of_own_class(part, self._values(config))
        if not self.is_old and _is_operation(part):
            return _operation(part)
        name = CLASSES.get(old_name, old_name) if self.is_old else old_name
        if is_refused(name):  # `check_parts` says why.
            return serialized("keras.layers", name, _chosen(config, ("name",)))
        _check_known(name, part)
        found = self._values(config)
        if isinstance(found.get("name"), str):  # Keras 3 allows no slash.
            found["name"] = found["name"].replace("/", "_")
        for rule in RULES if self.is_old else RULES_OF_KERAS_3:
            try:
                found = rule(name, old_name, found)
            except ValueError as error:
                raise ValueError(
                    f"Expected arguments that Keras 3 has. Received: the layer {_label(part)!r}, a "
                    f"{old_name}, with {shown_reason(error)}"
                ) from error
        return serialized("keras.layers", name, found)

    def _values(self, config):
        return {key: self._argument(value, key) for key, value in config.items()}

    def _argument(self, value, key):
        """Returns an argument, by whose name its parts are told from others."""
        if isinstance(value, list):
            return [self._argument(item, key) for item in value]
        if not isinstance(value, dict):
            return value
        if value.get("type") == "ndarray" and "value" in value:  # Of Keras 2.0 and 2.1.
            return value["value"]
        name = value.get("class_name")
        if name in ("__tuple__", "TensorShape") and "items" in value:
            return [self._argument(item, key) for item in value["items"]]
        if not isinstance(name, str) or "config" not in value:
            return self._values(value)
        if name == "function" and key.endswith("activation"):
            return value["config"]
        if name in _DTYPES or hasattr(keras.dtype_policies, name):
            return self._policy(name, value["config"])
        for kind in PARTS:
            if key.endswith(kind):
                return self._part(value, kind)
        if name.startswith("__") or name == "function":
            return value
        return self.layer(value)

    def _part(self, part, kind):
        """Returns an initializer, a regularizer or a constraint."""
        name = part["class_name"]
        if name == "function":
            return part["config"]  # `with_own_parts` looks at its name.
        config = self._values(part["config"] or {})
        if _is_custom(part) or not hasattr(getattr(keras, f"{kind}s"), name):
            return _of_own_class(part, config)
        if self.is_old and kind == "initializer":
            config.pop("dtype", None)
            if config.get("distribution") == "normal":
                config["distribution"] = "truncated_normal"
        return serialized(f"keras.{kind}s", name, config)

    def _policy(self, class_name, config):
        """Returns a policy of types by its name; None for the one of TensorFlow 2.0 that waits."""
        name = config.get("name")
        if name is None:  # Of Keras 3: of quantized layers, or of several layers.
            return serialized("keras.dtype_policies", class_name, self._values(config))
        return None if name in ("infer", "_infer") else name


def _of_own_class(part, config):
    """Returns a part of a class that this process must have registered."""
    registered = _registered_name(part)
    return serialized("builtins", registered.rpartition(">")[2], config, registered)


def _registered_name(part):
    return part.get("registered_name") or part["class_name"]


def _is_here(part):
    """Whether this process has registered the class of a part."""
    return keras.saving.get_registered_object(_registered_name(part)) is not None


def _is_custom(part):
    """Whether a part is of a class that was registered there, e.g. `Package>Name`, or is here."""
    name = _registered_name(part)
    return ">" in name or (_is_here(part) and not hasattr(keras.layers, name))


def _is_operation(part):
    """Whether a part that Keras 3 wrote is an operation of `keras.ops`; layers say `trainable`."""
    config = part["config"]
    is_input = part["class_name"] == "InputLayer"
    return not is_input and isinstance(config, dict) and "trainable" not in config


def _operation(part):
    """Returns an operation, with its module, which HDF5 files leave out."""
    name = part["class_name"]
    found = operation_class(name)
    if "function" in part["config"]:
        raise ValueError(
            "Expected layers that are safe to load from others. Received: "
            f"{_label(part)!r}, the operation {name}, with the function "
            f"{shown(part['config']['function'])}; make it a registered layer."
        )
    if found is None:
        raise ValueError(
            f"Expected layers of Keras, or operations of `keras.ops`. Received: {_label(part)!r}, "
            f"the operation {name}, which an HDF5 file does not tell enough of; {_SAVE_AS_KERAS}, "
            "or, if it is a layer of yours, load the file within "
            "`keras.saving.custom_object_scope` of it"
        )
    return serialized(found.__module__, name, part["config"], name)


def _warn_of_own_class(part):
    """Warns that a model is opened as its graph, whatever its class did besides."""
    warnings.warn(
        f"The model {_label(part)!r} is of the class {shown(part['class_name'])}, which is not "
        "known here: it opens as its graph of layers, without what that class does in `train_step` "
        "or `call`. If it has a `call` of its own, outputs differ: load the file within "
        "`keras.saving.custom_object_scope` of that class.",
        stacklevel=2,
    )


def _check_known(name, part):
    """Raises unless Keras 3 has a layer of this name."""
    found = getattr(keras.layers, name, None)
    if isinstance(found, type) and issubclass(found, keras.layers.Layer):
        return
    config = part["config"] if isinstance(part["config"], dict) else {}
    function = f" of {shown(config['function'])}" if "function" in config else ""
    remedy = _REMEDIES.get(
        name,
        "replace it where the model was made, or load the file within "
        "`keras.saving.custom_object_scope` of a layer of that name",
    )
    raise ValueError(
        f"Expected layers that Keras 3 has. Received: {_label(part)!r}, a {name}{function}, which "
        f"it does not have; {remedy}"
    )


def _label(part):
    config = part["config"] if isinstance(part["config"], dict) else {}
    return config.get("name") or part.get("name") or part["class_name"]


def _chosen(config, keys):
    return {key: config[key] for key in keys if key in config}


def shown_reason(error: ValueError) -> str:
    """Returns what an error says, short."""
    text = str(error)
    return text if len(text) < 300 else f"{text[:300]}..."


def built(config: dict[str, Any]) -> keras.Model:
    """Returns the model of a configuration that was carried over, with fresh weights.

    Args:
        config: What `carried_over` returned.

    Raises:
        ValueError: If a layer of it runs code or cannot be made; the error names it.
    """
    check_parts(config)
    try:
        model = keras.saving.deserialize_keras_object(copy.deepcopy(config), safe_mode=True)
    except Exception as error:  # Keras may raise any exception.
        raise _naming_layer(config, error) from error
    if not isinstance(model, keras.Model):
        raise ValueError(f"a {type(model).__name__} in the place of a model")
    if not model.built:
        raise ValueError("a sequential model that does not know the shape of its inputs")
    return model


def _naming_layer(config, error):
    """Returns an error that names the layer that cannot be made, or the one that was raised."""
    for layer in config["config"]["layers"]:
        part = {key: layer[key] for key in ("module", "class_name", "config", "registered_name")}
        if layer["class_name"] in _MODELS:
            found = _naming_layer(layer, error)
            if found is not error:
                return found
            continue
        try:
            keras.saving.deserialize_keras_object(copy.deepcopy(part), safe_mode=True)
        except Exception as own:
            text = " ".join(str(own).rpartition("Exception encountered: ")[2].split())
            is_operation = operation_class(layer["class_name"]) is not None
            what, remedy = ("operation", f"; {_SAVE_AS_KERAS}") if is_operation else ("layer", "")
            return ValueError(
                f"Expected layers that this Keras can make. Received: the {what} "
                f"{layer['config'].get('name')!r}, a {layer['class_name']}: {text[:300]}{remedy}"
            )
    return error
