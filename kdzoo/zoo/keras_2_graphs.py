"""The calls between layers, as Keras 2 wrote them and as Keras 3 reads them."""

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import keras

from kdzoo.zoo.keras_2_rules import RECURRENT

_CONSTANT = "_CONSTANT_VALUE"
_MODELS = ("Functional", "Sequential")
_GRAPH = ("layers", "input_layers", "output_layers")

Carry = Callable[[dict[str, Any]], dict[str, Any]]


def is_graph(config: Any) -> bool:
    """Whether this is the configuration of a functional model, of whatever class.

    Args:
        config: What a part of a model has for a configuration.
    """
    return isinstance(config, dict) and all(key in config for key in _GRAPH)


def sequential_layers(layers: list[dict[str, Any]], carry: Carry) -> list[dict[str, Any]]:
    """Returns the layers of a sequential model, the input among them where a layer knew of it.

    Args:
        layers: Their configurations.
        carry: Function that carries one over.
    """
    found = [carry(layer) for layer in layers]
    shape = _batch_shape(layers[0]) if layers else None
    if shape is not None and found[0]["class_name"] != "InputLayer":
        dtype = layers[0]["config"].get("dtype") if isinstance(layers[0]["config"], dict) else None
        config = {"batch_shape": shape, "dtype": dtype if isinstance(dtype, str) else "float32"}
        found.insert(0, carry({"class_name": "InputLayer", "config": config}))
    return found


def _batch_shape(layer):
    """Returns the shape, the batch first, that a first layer or model knew; None if none."""
    config = layer["config"]
    if isinstance(config, list):  # A sequential model of Keras before 2.2.3.
        return _batch_shape(config[0]) if config else None
    if "batch_input_shape" in config or "batch_shape" in config:
        return config.get("batch_input_shape") or config.get("batch_shape")
    inner = config.get("layers") or ()
    return _batch_shape(inner[0]) if inner else None


def functional(config: dict[str, Any], carry: Carry, is_old: bool) -> dict[str, Any]:
    """Returns the configuration of a functional model as Keras 3 reads it.

    Args:
        config: As the file has it.
        carry: Function that carries a layer over.
        is_old: Whether Keras 2 wrote it.
    """
    if is_old:
        graph = _Graph(config, carry)
        layers = [graph.layer(layer) for layer in config["layers"]]
        ends = {key: graph.ends(config[key]) for key in ("input_layers", "output_layers")}
    else:
        kept_keys = ("name", "inbound_nodes")
        layers = [
            {**carry(layer), **{key: layer[key] for key in kept_keys}} for layer in config["layers"]
        ]
        ends = {key: config[key] for key in ("input_layers", "output_layers")}
    kept = {"trainable": config["trainable"]} if "trainable" in config else {}
    return {"name": config.get("name") or "model", **kept, "layers": layers, **ends}


class _Graph:
    """The layers of a functional model by their names, and where their calls are counted from.

    Args:
        config: The configuration of the model.
        carry: Function that carries a layer over.
    """

    def __init__(self, config: dict[str, Any], carry: Carry) -> None:
        self._carry = carry
        self._layers = {layer["name"]: layer for layer in config["layers"]}
        self._names = without_slashes(self._layers)
        named: dict[str, set[int]] = {}
        for value in (
            *(layer.get("inbound_nodes") for layer in config["layers"]),
            config["output_layers"],
        ):
            _collect(value, named)
        self._first = {
            name: self._first_call(name, layer, named.get(name, set()))
            for name, layer in self._layers.items()
        }

    def layer(self, layer: dict[str, Any]) -> dict[str, Any]:
        """Returns a layer with its calls."""
        found = self._carry(layer)
        name = self._names[layer["name"]]
        found["config"]["name"] = name
        nodes = layer.get("inbound_nodes") or []
        calls = [self._call(node, found) for node in nodes]
        return {**found, "name": name, "inbound_nodes": calls}

    def ends(self, tensors: Any) -> Any:
        """Returns the inputs or outputs of the model: a list of one is the one."""
        if _is_tensor(tensors):
            name, index, number = tensors[:3]
            is_model = self._class(name) == "Functional"  # Keras 3 counts its calls from one.
            return [self._names[name], index - self._first[name] + is_model, number]
        if isinstance(tensors, dict):
            return {key: self.ends(value) for key, value in tensors.items()}
        found = [self.ends(item) for item in tensors]
        return found[0] if len(found) == 1 else found

    def _class(self, name):
        found = self._layers[name]
        return "Functional" if is_graph(found["config"]) else found["class_name"]

    def _first_call(self, name, layer, named):
        """Returns the number of a layer's first call; Keras 2 counts that of a model from one."""
        if self._class(name) not in _MODELS:
            return 0
        calls = len(layer.get("inbound_nodes") or ())
        if 0 in named or not named:
            return 0
        return 1 if calls in named else int(_has_input(layer))

    def _call(self, node, layer):
        """Returns the arguments of a call, of a list in which each tensor repeats the keywords."""
        keywords: dict[str, Any] = {}
        first = self._tensors(node, keywords)
        if isinstance(first, list) and len(first) == 1 and not _is_tensor(node):
            first = first[0]
        keywords = {
            key: self._tensors(value, {}) for key, value in keywords.items() if value is not None
        }
        name = layer["class_name"]
        if (name in RECURRENT or name == "Bidirectional") and isinstance(first, list):
            first, *states = first  # Keras 2 wrote initial states among the inputs.
            keywords["initial_state"] = states
        _check_keywords(keywords, layer)
        return {"args": [first], "kwargs": keywords}

    def _tensors(self, value, keywords):
        """Returns a value with its tensors as Keras 3 writes them; fills `keywords` in."""
        if _is_tensor(value) and (value[0] in self._layers or value[0] == _CONSTANT):
            if len(value) > 3 and isinstance(value[3], dict):
                keywords.update(value[3])
            return self._tensor(*value[:3])
        if isinstance(value, dict):
            return {key: self._tensors(item, keywords) for key, item in value.items()}
        if isinstance(value, list):
            return [self._tensors(item, keywords) for item in value]
        return value

    def _tensor(self, name, index, number):
        if name == _CONSTANT:
            array = {"value": number, "dtype": "float32"}
            is_array = isinstance(number, list)
            return {"class_name": "__numpy__", "config": array} if is_array else number
        history = [self._names[name], index - self._first[name], number]
        tensor = {"shape": [], "dtype": "float32", "keras_history": history}
        return {"class_name": "__keras_tensor__", "config": tensor}


def _check_keywords(keywords, layer):
    """Raises unless the layer can be called with these."""
    owner = getattr(keras.layers, layer["class_name"], None)
    if owner is None or layer["class_name"] in _MODELS:
        return
    known = inspect.signature(owner.call).parameters
    for key in keywords:
        if key not in known and key not in ("training", "mask"):
            raise ValueError(
                f"Expected calls that Keras 3 has. Received: the layer {layer['config']['name']!r},"
                f" a {layer['class_name']}, called with {key}="
            )


def _is_tensor(value):
    """Whether this is [layer, call, number] or that and keywords."""
    return (
        isinstance(value, list)
        and len(value) in (3, 4)
        and isinstance(value[0], str)
        and isinstance(value[1], int)
    )


def _collect(value, named):
    """Adds the numbers of the calls that calls and outputs name to those of each layer."""
    if _is_tensor(value):
        named.setdefault(value[0], set()).add(value[1])
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for item in items:
        _collect(item, named)


def _has_input(layer):
    config = layer["config"]
    layers = config if isinstance(config, list) else config.get("layers") or [{}]
    return layers[0].get("class_name") == "InputLayer"


def without_slashes(names: Iterable[str]) -> dict[str, str]:
    """Returns name -> name without slashes, which Keras 3 does not allow; no two are the same."""
    found: dict[str, str] = {name: name for name in names if "/" not in name}
    taken = set(found)
    for name in names:
        if name in found:
            continue
        new = base = name.replace("/", "_")
        number = 0
        while new in taken:
            number += 1
            new = f"{base}_{number}"
        found[name] = new
        taken.add(new)
    return found
