"""The JSON files of a run, read without trust: every field that is used has its type and range."""

import json
import math
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from kdzoo.utils import read_object, shown, write_text

_FRACTIONS = ("test_accuracy", "validation_accuracy", "keras_accuracy", "agreement", "sparsity")
_COUNTS = ("test_errors", "parameters", "bytes", "gzipped_bytes", "unique_weights")
_HASHES = ("weights", "identity")  # Older results do not have them.


def write_json(path: pathlib.Path, content: Any) -> None:
    """Writes JSON whole or not at all."""
    write_text(path, json.dumps(content, indent=1) + "\n")


def read_result(path: os.PathLike[str] | str) -> dict[str, Any]:
    """Returns what a finished stage left in a file, a dictionary.

    Args:
        path: The file, a path.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is damaged.
    """
    name = pathlib.Path(path).parent.name
    what = f"the result of a training; delete {name}, which is then trained again"
    return _read(path, what, _check_result)


def read_results(path: os.PathLike[str] | str) -> dict[str, Any]:
    """Returns the results of an experiment, a dictionary with "settings", "versions" and "rows".

    Args:
        path: The file, a path.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is damaged.
    """
    return _read(path, "the results of a recipe", _check_results)


def read_data(path: os.PathLike[str] | str) -> dict[str, Any]:
    """Returns which data a run is of, a dictionary with "name", "version" and "sha256".

    Args:
        path: The file, a path.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is damaged.
    """
    what = "what data a run is of; put it back, or delete it if they are the same"
    return _read(path, what, _check_data)


def read_seconds(path: os.PathLike[str] | str) -> dict[str, Any]:
    """Returns the seconds of a training so far and the commits that ran it, a dictionary.

    Args:
        path: The file, a path.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is damaged.
    """
    what = "the seconds of a training; delete it to count anew"
    return _read(path, what, _check_seconds)


def _read(
    path: os.PathLike[str] | str, what: str, check: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    content = read_object(path, what)
    try:
        check(content)
    except ValueError as error:
        raise ValueError(f"Expected {path} to be {what}. Received: {error}") from error
    return content


def _check_result(content: Mapping[str, Any]) -> None:
    _check_row(content)
    settings = _field(content, "settings", dict)
    for name in ("kind", "seed"):
        if settings.get(name, content[name]) != content[name]:
            found, wanted = shown(content[name]), shown(settings[name])
            raise ValueError(f"{name}={found} with settings of {wanted}")


def _check_results(content: Mapping[str, Any]) -> None:
    for name in ("settings", "versions"):
        _field(content, name, dict)
    for row in _field(content, "rows", list):
        if not isinstance(row, dict):
            raise ValueError("a row that is no dictionary")
        _check_row(row)
    _check_hashes(content.get("data_sha256", {}))


def _check_data(content: Mapping[str, Any]) -> None:
    _field(content, "name", str)
    if not isinstance(content.get("version"), str | None):
        raise ValueError(f"version={shown(content['version'])}")
    _check_hashes(_field(content, "sha256", dict))


def _check_seconds(content: Mapping[str, Any]) -> None:
    if not _is_number(_field(content, "seconds", int | float), math.inf):
        raise ValueError(f"seconds={shown(content['seconds'])}")
    if not all(isinstance(commit, str) for commit in _field(content, "commits", list)):
        raise ValueError("a commit that is no text")


def _check_row(row: Mapping[str, Any]) -> None:
    """Raises unless a row names its model, and what was measured of it is in its range."""
    _field(row, "kind", str)
    _field(row, "seed", int)
    for names, types, most in ((_FRACTIONS, int | float, 1), (_COUNTS, int, math.inf)):
        for name in names:
            if name in row and not _is_number(_field(row, name, types), most):
                raise ValueError(f"{name}={shown(row[name])}")
    if row.get("seconds") is not None and not _is_number(row["seconds"], math.inf):
        raise ValueError(f"seconds={shown(row['seconds'])}")
    _field({"versions": {}, **row}, "versions", dict)
    # What it was made from has a field for each role, as `teacher_weights`.
    made_from = [name for name in row if name.endswith("_weights") and name not in _COUNTS]
    for name in (*_HASHES, *made_from):
        hashes = row.get(name)
        is_list = isinstance(hashes, list) and name in made_from
        if not all(isinstance(value, str | None) for value in (hashes if is_list else [hashes])):
            raise ValueError(f"{name}={shown(hashes)}")
    if "test_accuracy" not in row:
        raise ValueError("no 'test_accuracy' in it")


def _check_hashes(hashes: Any) -> None:
    if not isinstance(hashes, dict) or not all(isinstance(text, str) for text in hashes.values()):
        raise ValueError("hashes of data that are no dictionary of text")


def _field(content: Mapping[str, Any], name: str, kind: Any) -> Any:
    """Returns a field of a dictionary; raises unless it is there and of this type."""
    if name not in content:
        raise ValueError(f"a file without {name!r}")
    value = content[name]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError(f"{name}={repr(value)[:100]}")
    return value


def _is_number(value: Any, most: float) -> bool:
    """Whether something is a finite number from 0 on."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and 0 <= value <= most and value != math.inf
