"""A model as a directory that others can load: configuration, weights, hashes, no code."""

import contextlib
import json
import re
import textwrap

from kdzoo.graph.keras_internals import flatten_layers
from kdzoo.utils import (
    check_directory,
    check_path,
    check_regular,
    check_text,
    digest_of_file,
    first_line,
    naming,
    read_bytes,
    read_object,
    shown,
    write_bytes,
)
from kdzoo.utils.fields import check_types
from kdzoo.utils.hashed_json import check_hash, digest, hashed_json
from kdzoo.zoo import weights
from kdzoo.zoo.manifest import list_pretrained
from kdzoo.zoo.safety import check_parts

VERSION = 1  # Of the directory's own form.
_CONFIG, _CARD = "config.json", "README.md"
_PARTS = {"weights": dict, "model": dict, "model_sha256": str}
_WEIGHTS_PARTS = {"file": str, "sha256": str, "bytes": int}
_HASH = {"key": "model_sha256", "part": "model"}
_MOST_CARD = 16 << 20  # Bytes.
_WEIGHTS = re.compile(r"model-[0-9a-f]{8}\.safetensors")


def save_pretrained(model, directory, card="", dtype="float32"):
    """Saves a model as a directory that others load without running anything of it.

    `config.json` holds the layers and the hashes of both, a `.safetensors` file the weights,
    `README.md` the card, which is what model hubs show. The directory can be pushed to a hub as it
    is, for example with `hf upload <user>/<name> <directory>`. The model is not compiled when it
    comes back. Of models that are being pruned, clustered or quantized, save what their `strip_`
    function returns.

    Args:
        model: A functional or sequential `keras.Model`, of Keras's own layers or of layers that
            whoever loads it registers too.
        directory: Where it goes; made if missing. The model of an earlier save is replaced whole
            or, if this one fails, not at all; then its card is.
        card: Text for the card, in Markdown. When empty, a table of what the model is, except
            where somebody has edited the card of an earlier save: that one stays.
        dtype: `"float32"`, or `"float16"` for half the bytes, as in `kdzoo.zoo.save_weights`.

    Raises:
        ValueError: If the model is subclassed, not built, or has a layer that runs code, opens
            files, is not serializable, names its inner layers anew each time, keeps more than
            weights with methods of its own, or, as stateful recurrent ones, makes weights only when
            it is called, or a weight that is not finite; or if the directory is a file, or has a
            README.md or config.json of something else. Nothing is written.

    Example:

    ```python
    kdzoo.save_pretrained(student, "my-student", card="# My student\\n\\nTrained on ...")
    again = kdzoo.load_pretrained("my-student")
    ```
    """
    import keras

    if not isinstance(model, keras.Model) or not getattr(model, "inputs", None):
        raise ValueError(
            "Expected a functional keras.Model, or a sequential one that is built, of a Distiller "
            f"its `.student`. Received: {shown(getattr(model, 'name', model))}, a "
            f"{type(model).__name__}"
        )
    home = check_directory(directory)
    check_text("card", card, may_be_empty=True)
    try:
        with _not_compiled(model):
            config = json.loads(json.dumps(keras.saving.serialize_keras_object(model)))
    except (TypeError, NotImplementedError) as error:
        raise ValueError(
            f"Expected layers that Keras can serialize in {model.name!r}. Received: "
            f"{first_line(error)}"
        ) from error
    config = _without_compilation(config)  # Of each model it is an empty dictionary now.
    check_parts(config)
    _check_keeps_weights_only(model)
    content = weights.to_bytes(model, dtype)
    _check_loads(model, config, content)
    before = _saved_before(home)
    for file in (_CARD, _CONFIG):
        if (home / file).exists() and not before:
            raise ValueError(
                f"Expected a directory of its own for the model. Received: {home}, whose {file} "
                "would be replaced."
            )
    sha256 = digest(content)
    name = f"model-{sha256[:8]}.safetensors"
    text = (card or _default_card(model, len(content), dtype)).encode()
    written_before = before.get("cards", [])
    described = {
        "format": "kdzoo",
        "version": VERSION,
        "weights": {"file": name, "sha256": sha256, "bytes": len(content), "dtype": dtype},
        "model": config,
        "model_sha256": None,
        "cards": [digest(text), *written_before[:9]],  # Saves may be broken off.
    }
    if not card and _is_edited(home / _CARD, written_before):
        text = read_bytes(home / _CARD, _MOST_CARD)
    # The configuration, which names the weights, after them: until then the old model is whole.
    for file, written in (
        (name, content),
        (_CONFIG, hashed_json(described, **_HASH)),
        (_CARD, text),
    ):
        write_bytes(home / file, written)
    for path in home.iterdir():
        if _WEIGHTS.fullmatch(path.name) and path.name != name and _is_named_by_content(path):
            path.unlink()


def _saved_before(home):
    """The configuration that an earlier save wrote here; empty if there is none."""
    try:
        found = read_object(home / _CONFIG, "a model of kdzoo")
    except (OSError, ValueError):
        return {}
    is_ours = found.get("format") == "kdzoo" and isinstance(found.get("cards", []), list)
    return found if is_ours else {}


def _is_edited(card, written):
    """Whether a card is none of those, by their hashes, that earlier saves wrote."""
    return card.is_file() and digest_of_file(card) not in written


def _is_named_by_content(path):
    """Whether a file of weights bears the hash of what it holds, as only saves here name them."""
    return path.is_file() and path.stem.removeprefix("model-") == digest_of_file(path)[:8]


def load_pretrained(directory):
    """Returns the model of a directory that `save_pretrained` wrote.

    Nothing of the directory runs: its configuration may name Keras's own layers, and those that
    this process has registered; its weights are numbers. Both are checked by hash.

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

    home = check_path("directory", directory)
    content = _read_config(home)
    file = content["weights"]
    path = home / file["file"]
    tensors = weights.read_checked(path, file["sha256"], file["bytes"])
    try:
        config = _without_compilation(content["model"])
        try:
            check_parts(config)
        except ValueError as error:
            raise naming(home / _CONFIG, error) from error
        check_hash(home / _CONFIG, content, "fetch the file again", **_HASH)
    except RecursionError as error:
        raise ValueError(
            f"Expected a model in {home / _CONFIG}. Received: lists within lists without end."
        ) from error

    def build():
        try:
            model = keras.saving.deserialize_keras_object(config, safe_mode=True)
        except Exception as error:  # Keras raises whatever a damaged configuration leads to.
            raise ValueError(
                f"Expected a model in {home / _CONFIG} that this Keras can build. Received: "
                f"{_reason(error)}"
            ) from error
        if not isinstance(model, keras.Model):
            raise ValueError(
                f"Expected a model in {home / _CONFIG}. Received: a {type(model).__name__}"
            )
        try:
            weights.named_weights(model)
        except ValueError as error:
            raise naming(home / _CONFIG, error) from error
        return model

    return weights.built_from(build, tensors, str(path))


def weights_file(directory):
    """Returns the path of the weights in a directory that `save_pretrained` wrote, not checked.

    Args:
        directory: The directory.

    Raises:
        FileNotFoundError: If there is no configuration.
        ValueError: If it is damaged, or comes from a newer kdzoo.
    """
    home = check_path("directory", directory)
    return home / _read_config(home)["weights"]["file"]


def _reason(error):
    """What went wrong in the innermost part that Keras could not build, in one line."""
    lines = str(error).rpartition("Exception encountered: ")[2].strip().splitlines()
    return textwrap.shorten(lines[0] if lines else type(error).__name__, 200)


def _read_config(home):
    """The content of `config.json`, with all its parts."""
    path = home / _CONFIG
    try:
        check_regular(path)
    except (FileNotFoundError, NotADirectoryError):
        ships = not home.exists() and home.as_posix() in list_pretrained()
        remedy = f"; kdzoo.load({home.as_posix()!r}) is the pretrained model" if ships else "."
        raise FileNotFoundError(
            f"Expected {_CONFIG} in {home}, as `save_pretrained` writes it. Received: none there"
            + remedy
        ) from None
    weights.check_within(path, home)
    content = read_object(path, "a model of kdzoo")
    if content.get("format") != "kdzoo":
        raise ValueError(
            f"Expected {path} to be a model of kdzoo, as `save_pretrained` writes it. Received: "
            f'another format, without \'"format": "kdzoo"\''
        )
    version = content.get("version")
    if version != VERSION or isinstance(version, bool):
        raise ValueError(
            f"Expected {path} to be of version {VERSION}. Received: version={shown(version)}, "
            "which another kdzoo wrote; update kdzoo."
        )
    try:
        check_types(content, _PARTS)
        check_types(content["weights"], _WEIGHTS_PARTS)
    except ValueError as error:
        raise ValueError(
            f"Expected {path} to be a whole model of kdzoo. Received: {error}; fetch the file "
            "again."
        ) from error
    file = content["weights"]["file"]
    if not _WEIGHTS.fullmatch(file):
        raise ValueError(
            "Expected weights in a file such as model-01234567.safetensors. Received: "
            f"{path}, with {file!r}"
        )
    return content


def _check_keeps_weights_only(model):
    """Raises if a layer of somebody's own writes more than its weights into Keras's files."""
    for layer in flatten_layers(model):
        for method in ("save_own_variables", "save_assets"):
            owner = next((each for each in type(layer).__mro__ if method in vars(each)), object)
            if owner is not object and owner.__module__.partition(".")[0] != "keras":
                raise ValueError(
                    "Expected layers that keep nothing but weights and configuration. Received: "
                    f"{layer.name!r}, a {type(layer).__name__}, which has a {method} of its own; "
                    "make what it keeps a weight, or share the model as a .keras file."
                )


def _check_loads(model, config, content):
    """Raises unless the model can be made again of its configuration and its weights."""
    import keras

    def build():
        try:
            again = keras.saving.deserialize_keras_object(json.loads(json.dumps(config)))
        except Exception as error:  # Keras raises whatever it stumbles over.
            raise ValueError(
                "Expected a model that Keras can build again from its configuration, which it "
                "cannot where an argument is a lambda or a layer makes weights only when it is "
                f"called. Received: {model.name!r}: {_reason(error)}"
            ) from error
        ours, theirs = weights.named_weights(model), weights.named_weights(again)
        differing = ours.keys() ^ theirs.keys()
        if differing:
            raise ValueError(
                "Expected a model whose weights have the same names when it is built again; give "
                "the layers within custom layers names of their own. Received: "
                f"{sorted(differing)[0]!r} in {model.name!r}"
            )
        return again

    weights.built_from(build, content, repr(model.name))


@contextlib.contextmanager
def _not_compiled(model):
    """Lets no model within the block say how it was compiled, which need not be serializable."""
    import keras

    compiled = [
        each for each in flatten_layers(model) if isinstance(each, keras.Model) and each.compiled
    ]
    for each in compiled:
        each.compiled = False
    try:
        yield
    finally:
        for each in compiled:
            each.compiled = True


def _without_compilation(config):
    """The configuration without what `compile` left in it, at any depth."""
    if isinstance(config, dict):
        kept = {key: each for key, each in config.items() if key != "compile_config"}
        return {key: _without_compilation(each) for key, each in kept.items()}
    return [_without_compilation(each) for each in config] if isinstance(config, list) else config


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
