"""The directory that `save_pretrained` writes: its files, and the fields of its configuration."""

import pathlib
import re
from collections.abc import Mapping
from typing import Any

from kdzoo.utils import (
    check_path,
    check_regular,
    digest_of_file,
    read_bytes,
    read_object,
    shown,
    write_bytes,
)
from kdzoo.utils.field_checks import check_types
from kdzoo.utils.hashed_json import check_hash, digest, hashed_json
from kdzoo.utils.types import PathLike
from kdzoo.zoo.hashed_files import check_within
from kdzoo.zoo.manifest import list_pretrained

VERSION = 1  # The version of the directory's format.
CONFIG, CARD = "config.json", "README.md"
_WEIGHTS = re.compile(r"model-[0-9a-f]{8}\.safetensors")
_MOST_CARD = 16 << 20  # Bytes.
_FIELDS = {"weights": dict, "model": dict, "model_sha256": str}
_WEIGHTS_FIELDS = {"file": str, "sha256": str, "bytes": int}


def weights_file(directory: PathLike) -> pathlib.Path:
    """Returns the path of the weights in a directory that `save_pretrained` wrote, unchecked.

    Args:
        directory: The directory.

    Raises:
        FileNotFoundError: If there is no configuration.
        ValueError: If it is damaged, or comes from a newer kdzoo.
    """
    path = check_path("directory", directory)
    return path / read_config(path)["weights"]["file"]


def read_config(directory: pathlib.Path) -> dict[str, Any]:
    """Returns the content of `config.json`, a dictionary with all fields that a model needs.

    Args:
        directory: The directory of the model.

    Raises:
        FileNotFoundError: If there is no configuration.
        ValueError: If it is damaged, or comes from a newer kdzoo.
    """
    path = directory / CONFIG
    try:
        check_regular(path)
    except (FileNotFoundError, NotADirectoryError):
        name = directory.as_posix()
        ships = not directory.exists() and name in list_pretrained()
        remedy = f"; kdzoo.load({name!r}) is the pretrained model" if ships else "."
        raise FileNotFoundError(
            f"Expected {CONFIG} in {directory}, as `save_pretrained` writes it. Received: none "
            f"there{remedy}"
        ) from None
    check_within(path, directory)
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
        check_types(content, _FIELDS)
        check_types(content["weights"], _WEIGHTS_FIELDS)
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


def check_config(directory: pathlib.Path, content: Mapping[str, Any]) -> None:
    """Raises `ValueError` unless the model is the one that was saved.

    Args:
        directory: The directory of the model.
        content: What `read_config` returned.
    """
    check_hash(directory / CONFIG, content, "fetch the file again", "model_sha256", "model")


def write_directory(
    directory: pathlib.Path,
    config: dict[str, Any],
    weights: bytes,
    dtype: str,
    card: str,
    keep_edited_card: bool,
) -> None:
    """Writes a model, and then removes the weights of an earlier save.

    Args:
        directory: Where it goes; made if missing.
        config: The configuration of the model.
        weights: The content of the file of its weights.
        dtype: The type in which they are stored.
        card: Its card, in Markdown.
        keep_edited_card: Whether an earlier card that was edited by hand stays.

    Raises:
        ValueError: If the directory has a card or a configuration that kdzoo did not write.
    """
    earlier = _earlier_config(directory)
    for file in (CARD, CONFIG):
        if (directory / file).exists() and not earlier:
            raise ValueError(
                f"Expected a directory of its own for the model. Received: {directory}, whose "
                f"{file} would be replaced."
            )
    sha256, text = digest(weights), card.encode()
    name = f"model-{sha256[:8]}.safetensors"
    written_cards = earlier.get("cards", [])
    content = {
        "format": "kdzoo",
        "version": VERSION,
        "weights": {"file": name, "sha256": sha256, "bytes": len(weights), "dtype": dtype},
        "model": config,
        "model_sha256": None,
        "cards": [digest(text), *written_cards[:9]],  # Several, because a save may be interrupted.
    }
    if keep_edited_card and _is_edited(directory / CARD, written_cards):
        text = read_bytes(directory / CARD, _MOST_CARD)
    # The configuration names the weights, so it follows them: until then the old model is whole.
    for file, written in (
        (name, weights),
        (CONFIG, hashed_json(content, "model_sha256", "model")),
        (CARD, text),
    ):
        write_bytes(directory / file, written)
    _remove_earlier_weights(directory, name)


def _earlier_config(directory):
    """Returns the configuration that an earlier save wrote; empty if there is none."""
    try:
        found = read_object(directory / CONFIG, "a model of kdzoo")
    except (OSError, ValueError):
        return {}
    is_ours = found.get("format") == "kdzoo" and isinstance(found.get("cards", []), list)
    return found if is_ours else {}


def _is_edited(card, written):
    """Whether there is a card whose hash is not among those that earlier saves wrote."""
    return card.is_file() and digest_of_file(card) not in written


def _remove_earlier_weights(directory, name):
    """Removes the weights of earlier saves, which are named by the hash of their content."""
    for path in directory.iterdir():
        if not _WEIGHTS.fullmatch(path.name) or path.name == name or not path.is_file():
            continue
        if path.stem.removeprefix("model-") == digest_of_file(path)[:8]:
            path.unlink()
