"""A model as a directory that others can load: configuration, weights, hashes, no code."""

import json
import pathlib

from kdzoo.utils import atomic_path
from kdzoo.zoo import weights

VERSION = 1  # Of the directory's own form.
_CONFIG, _WEIGHTS, _CARD = "config.json", "model.safetensors", "README.md"

# Where Keras keeps what models consist of, and what else it writes into a configuration.
_MODULES = ("initializers", "layers", "regularizers", "constraints", "dtype_policies", "models")
_KERAS = (*(f"keras.{each}." for each in _MODULES), "keras.src.models.", "keras.src.ops.")
_FROM_KERAS = {"DTypePolicy", "DTypePolicyMap", "Functional", "Model", "Sequential"}
_VALUES = {"__keras_tensor__", "__tensor__", "__tuple__", "__slice__", "__ellipsis__"}
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


def save_pretrained(model, directory, card="", dtype="float32"):
    """Saves a model as a directory that others load without running anything of it.

    `config.json` holds the layers and the hash of the weights, `model.safetensors` the weights,
    `README.md` the card, which is what model hubs show. The directory can be pushed to a hub as it
    is, for example with `hf upload <user>/<name> <directory>`.

    Args:
        model: A functional or sequential `keras.Model`, of Keras's own layers or of layers that
            whoever loads it registers too.
        directory: Where it goes; made if missing. What lies there of an earlier save is replaced.
        card: Text for the card, in Markdown; a table of what the model is when empty.
        dtype: `"float32"`, or `"float16"` for half the bytes, as in `kdzoo.zoo.save_weights`.

    Raises:
        ValueError: If the model is subclassed, not built, or has a layer that runs code, opens
            files or is no serializable one; nothing is written.

    Example:

    ```python
    kdzoo.save_pretrained(student, "my-student", card="# My student\\n\\nTrained on ...")
    again = kdzoo.load_pretrained("my-student")
    ```
    """
    import keras

    if not isinstance(model, keras.Model) or not getattr(model, "inputs", None):
        raise ValueError(
            "Expected a functional keras.Model, or a sequential one that is built. Received: "
            f"{getattr(model, 'name', model)!r}, a {type(model).__name__}"
        )
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(model)))
    config.pop("compile_config", None)
    _check_layers(config)
    weights.named_weights(model)
    home = pathlib.Path(directory)
    sha256, size = weights.save_weights(model, home / _WEIGHTS, dtype)
    content = {
        "format": "kdzoo",
        "version": VERSION,
        "weights": {"file": _WEIGHTS, "sha256": sha256, "bytes": size, "dtype": dtype},
        "model": config,
    }
    with atomic_path(home / _CARD) as path:
        path.write_text(card or _default_card(model, size, dtype), encoding="utf-8")
    with atomic_path(home / _CONFIG) as path:
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def load_pretrained(directory):
    """Returns the model of a directory that `save_pretrained` wrote.

    Nothing of the directory runs: its configuration may name Keras's own layers, kdzoo's, and those
    that this process has registered; its weights are numbers, checked by hash.

    Args:
        directory: The directory, of plain files. (The cache of the Hugging Face Hub consists of
            links; download with `local_dir=` instead.)

    Returns:
        A `keras.Model`, not compiled.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file was truncated or altered, comes from a newer kdzoo, or names a layer
            that runs code, opens files or is not known here; nothing is loaded.
    """
    import keras

    home = pathlib.Path(directory)
    content = _read_config(home)
    file = content["weights"]
    if file["file"] != _WEIGHTS:
        raise ValueError(f"Expected weights in {_WEIGHTS}. Received: {file['file']!r}")
    tensors = weights.read_checked(home / _WEIGHTS, file["sha256"], file["bytes"])
    _check_layers(content["model"])
    try:
        model = keras.saving.deserialize_keras_object(content["model"], safe_mode=True)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        reason = str(error).strip().splitlines()
        raise ValueError(
            f"Expected a model in {home / _CONFIG} that this Keras can build. Received: "
            f"{reason[0] if reason else type(error).__name__}"
        ) from error
    weights.load_weights(model, tensors, str(home / _WEIGHTS))
    return model


def _read_config(home):
    """The content of `config.json`, with all its parts."""
    path = home / _CONFIG
    if not path.is_file():
        raise FileNotFoundError(
            f"Expected {_CONFIG} in {home}, as `save_pretrained` writes it. Received: none there."
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        file = content["weights"]
        version, known = content["version"], content["format"] == "kdzoo"
        known = known and isinstance(content["model"], dict) and isinstance(file["bytes"], int)
        known = known and isinstance(file["sha256"], str) and isinstance(file["file"], str)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"Expected {path} to be a model of kdzoo. Received: {error}") from error
    if not known:
        raise ValueError(f"Expected {path} to be a model of kdzoo. Received: another format.")
    if version != VERSION:
        raise ValueError(
            f"Expected {path} to be of version {VERSION}. Received: version={version!r}, which "
            "another kdzoo wrote; update kdzoo."
        )
    return content


def _check_layers(config):
    """Raises unless everything that a configuration names is a known layer that runs nothing."""
    import keras

    for each in _named(config):
        kind, module = each["class_name"], each.get("module") or ""
        registered = each.get("registered_name")
        if kind in _REFUSED:
            raise ValueError(
                "Expected layers that are safe to load from others. Received: "
                f"{_name_of(each)!r}, a {kind}, which {_REFUSED[kind]}; replace it by layers of "
                "Keras."
            )
        known = f"{module}.".startswith(_KERAS) or (module == "keras" and kind in _FROM_KERAS)
        known = known or (not module and kind in _VALUES)
        if not known and (not registered or not keras.saving.get_registered_object(registered)):
            raise ValueError(
                "Expected layers of Keras, of kdzoo, or registered in this process. Received: "
                f"{_name_of(each)!r}, a {kind} of {module or 'an unknown module'!r}; import what "
                "registers it first."
            )


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


def _default_card(model, size, dtype):
    shapes = [tuple(tensor.shape) for tensor in (model.inputs[0], model.outputs[0])]
    return (
        "---\nlibrary_name: keras\ntags:\n- kdzoo\n---\n\n"
        f"# {model.name}\n\n"
        "| | |\n|---|---|\n"
        f"| input | {shapes[0]} |\n| output | {shapes[1]} |\n"
        f"| parameters | {model.count_params():,} |\n| weights | {size:,} bytes, {dtype} |\n\n"
        '```python\nimport kdzoo\n\nmodel = kdzoo.load_pretrained(".")\n```\n'
    )
