"""A model as a directory that others can load: configuration, weights, hashes, no code."""

import contextlib
import json
import pathlib
import textwrap
from collections.abc import Iterator
from typing import Any

import keras

from kdzoo.graph.keras_internals import flatten_layers
from kdzoo.utils import (
    check_directory,
    check_path,
    check_text,
    first_line,
    naming,
    shown,
)
from kdzoo.utils.types import PathLike
from kdzoo.zoo import safetensors_weights
from kdzoo.zoo.allowed_layers import check_parts
from kdzoo.zoo.building import build_with_weights
from kdzoo.zoo.hashed_files import read_checked
from kdzoo.zoo.shared_directory import CONFIG, check_config, read_config, write_directory


def save_pretrained(
    model: keras.Model,
    directory: PathLike,
    card: str = "",
    dtype: safetensors_weights.Dtype = "float32",
) -> None:
    """Saves a model as a directory that others can load without running any code of it.

    The directory holds `config.json` (the layers, and the hashes of the configuration and the
    weights), the weights as a `.safetensors` file, and the card as `README.md`, which model hubs
    show. It can be pushed to a hub as it is, for example with
    `hf upload <user>/<name> <directory>`. A loaded model is not compiled. Before saving a model
    that is being pruned, clustered or quantized, call `strip_pruning`, `strip_clustering` or
    `plain_model()`.

    Args:
        model: A functional or sequential `keras.Model` of Keras's own layers, or of layers that
            are registered with `keras.saving.register_keras_serializable` here and where the model
            is loaded.
        directory: Where it goes; made if missing. An earlier save there is replaced, first the
            model, then the card; if saving fails, the earlier model stays whole.
        card: Text for the card, in Markdown. If empty, a table of the model's shapes and sizes; an
            earlier card that was edited by hand then stays.
        dtype: `"float32"`, or `"float16"` to store the weights in half the bytes where float16
            holds their values; they are float32 again when loaded.

    Raises:
        ValueError: If the model cannot be shared: it is subclassed or not built; a weight is not
            finite; or a layer runs code, opens files, cannot be serialized, changes the names of
            its inner layers with every construction, keeps more than weights with methods of its
            own, or makes weights only when it is called (stateful recurrent layers). Also if the
            directory is a file, or has a README.md or config.json that kdzoo did not write.
            Nothing is written then.

    Example:

    ```python
    kdzoo.save_pretrained(student, "my-student", card="# My student\\n\\nTrained on ...")
    again = kdzoo.load_pretrained("my-student")
    ```
    """
    if not isinstance(model, keras.Model) or not getattr(model, "inputs", None):
        raise ValueError(
            "Expected a functional keras.Model, or a sequential one that is built, of a Distiller "
            f"its `.student`. Received: {shown(getattr(model, 'name', model))}, a "
            f"{type(model).__name__}"
        )
    path = check_directory(directory)
    check_text("card", card, may_be_empty=True)
    config = _serialized(model)
    check_parts(config)
    _check_keeps_weights_only(model)
    content = safetensors_weights.to_bytes(model, dtype)
    _check_loads(model, config, content)
    text = card or _default_card(model, len(content), dtype)
    write_directory(path, config, content, dtype, text, keep_edited_card=not card)


def _serialized(model):
    """Returns the configuration of a model as JSON holds it, without how it was compiled."""
    try:
        with _not_compiled(model):
            config = json.loads(json.dumps(keras.saving.serialize_keras_object(model)))
    except (TypeError, NotImplementedError) as error:
        raise ValueError(
            f"Expected layers that Keras can serialize in {model.name!r}. Received: "
            f"{first_line(error)}"
        ) from error
    return _without_compilation(config)  # Which left an empty dictionary in each model.


def load_pretrained(directory: PathLike) -> keras.Model:
    """Returns the model of a directory that `save_pretrained` wrote.

    No code of the directory runs: its configuration may name only Keras's own layers and those
    that this process has registered, and its weights are numbers. Both are checked by hash.

    Args:
        directory: The directory, of plain files. The cache of the Hugging Face Hub consists of
            links: download with `hf download <user>/<name> --local-dir <directory>` instead.

    Returns:
        A `keras.Model`, not compiled.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file was truncated or altered, comes from a newer kdzoo, or names a layer
            that runs code, opens files or is not known here; nothing is loaded then.

    Example:

    ```python
    model = kdzoo.load_pretrained("my-student")
    logits = model.predict(images)
    ```
    """
    path = check_path("directory", directory)
    content = read_config(path)
    file = content["weights"]
    weights_path = path / file["file"]
    tensors = read_checked(weights_path, file["sha256"], file["bytes"])
    try:
        config = _without_compilation(content["model"])
        try:
            check_parts(config)
        except ValueError as error:
            raise naming(path / CONFIG, error) from error
        check_config(path, content)
    except RecursionError as error:
        raise ValueError(
            f"Expected a model in {path / CONFIG}. Received: lists within lists without end."
        ) from error
    return build_with_weights(
        lambda: _deserialized(config, path / CONFIG), tensors, str(weights_path)
    )


def _deserialized(config: dict[str, Any], path: pathlib.Path) -> keras.Model:
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
        safetensors_weights.named_weights(model)
    except ValueError as error:
        raise naming(path, error) from error
    return model


def _reason(error):
    """Returns in one line what is wrong with the innermost part that Keras could not build."""
    lines = str(error).rpartition("Exception encountered: ")[2].strip().splitlines()
    return textwrap.shorten(lines[0] if lines else type(error).__name__, 200)


def _check_keeps_weights_only(model):
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


def _check_loads(model, config, content):
    """Raises unless the model can be made again of its configuration and its weights."""

    def build():
        try:
            rebuilt = keras.saving.deserialize_keras_object(json.loads(json.dumps(config)))
        except Exception as error:  # Keras may raise any exception.
            raise ValueError(
                "Expected a model that Keras can build again from its configuration, which it "
                "cannot where an argument is a lambda or a layer makes weights only when it is "
                f"called. Received: {model.name!r}: {_reason(error)}"
            ) from error
        differing = (
            safetensors_weights.named_weights(model).keys()
            ^ safetensors_weights.named_weights(rebuilt).keys()
        )
        if differing:
            raise ValueError(
                "Expected a model whose weights have the same names when it is built again; give "
                "the layers within custom layers names of their own. Received: "
                f"{sorted(differing)[0]!r} in {model.name!r}"
            )
        return rebuilt

    build_with_weights(build, content, repr(model.name))


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


def _without_compilation(config):
    """Returns the configuration without the settings of `compile`, at any depth."""
    if isinstance(config, dict):
        kept = {key: value for key, value in config.items() if key != "compile_config"}
        return {key: _without_compilation(value) for key, value in kept.items()}
    return [_without_compilation(item) for item in config] if isinstance(config, list) else config


def _default_card(model, size, dtype):
    inputs, outputs = (
        ", ".join(str(tuple(tensor.shape)) for tensor in tensors)
        for tensors in (model.inputs, model.outputs)
    )
    return (
        "---\nlibrary_name: kdzoo\ntags:\n- keras\n---\n\n"
        f"# {model.name}\n\n"
        "| | |\n|---|---|\n"
        f"| input | {inputs} |\n| output | {outputs} |\n"
        f"| parameters | {model.count_params():,} |\n| weights | {size:,} bytes, {dtype} |\n\n"
        "From a hub: `hf download <user>/<name> --local-dir my-student`; then, where kdzoo is "
        "installed:\n\n"
        '```python\nimport kdzoo\n\nmodel = kdzoo.load_pretrained("my-student")\n```\n'
    )
