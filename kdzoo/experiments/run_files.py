"""The JSON files of a run, read without trust: every field that is used has its type and range.

Each reader returns a dictionary, and raises `FileNotFoundError` where there is no file and
`ValueError`, which says what to do, for one that is damaged.
"""

import json
import math
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


def read_result(path: pathlib.Path) -> dict[str, Any]:
    """Returns what a finished stage left: its row and, under "settings", what identifies it."""
    again = f"delete {path.parent.name}, which is then trained again"
    return _read(path, f"the result of a training; {again}", _check_result)


def read_results(path: pathlib.Path) -> dict[str, Any]:
    """Returns the results of an experiment, with "settings", "versions" and "rows"."""
    return _read(path, "the results of a recipe", _check_results)


def read_data(path: pathlib.Path) -> dict[str, Any]:
    """Returns which data a run is of, with "name", "version" and "sha256"."""
    what = "what data a run is of; put it back, or delete it if they are the same"
    return _read(path, what, _check_data)


def read_seconds(path: pathlib.Path) -> dict[str, Any]:
    """Returns the "seconds" of a training so far and the "commits" that ran it."""
    return _read(path, "the seconds of a training; delete it to count anew", _check_seconds)


def _read(path: pathlib.Path, what: str, check: Callable[[Any], None]) -> dict[str, Any]:
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
    _field({"version": None, **content}, "version", str | None)
    _check_hashes(_field(content, "sha256", dict))


def _check_seconds(content: Mapping[str, Any]) -> None:
    _check_number(content, "seconds", int | float)
    if not all(isinstance(commit, str) for commit in _field(content, "commits", list)):
        raise ValueError("a commit that is no text")


def _check_row(row: Mapping[str, Any]) -> None:
    """Raises unless a row names its model, and what was measured of it is in its range."""
    _field(row, "kind", str)
    _field(row, "seed", int)
    _check_number(row, "test_accuracy", int | float, 1)
    optional = [(name, int | float, 1.0) for name in _FRACTIONS]
    optional += [(name, int, math.inf) for name in _COUNTS]
    optional += [("seconds", int | float, math.inf)] if row.get("seconds") is not None else []
    for name, types, most in optional:
        if name in row:
            _check_number(row, name, types, most)
    _field({"versions": {}, **row}, "versions", dict)
    # What it was made from has a field for each role, as `teacher_weights`.
    made_from = [name for name in row if name.endswith("_weights") and name not in _COUNTS]
    for name in (*_HASHES, *made_from):
        value = row.get(name)
        hashes = value if isinstance(value, list) and name in made_from else [value]
        if not all(isinstance(text, str | None) for text in hashes):
            raise ValueError(f"{name}={shown(value)}")


def _check_hashes(hashes: Any) -> None:
    if not isinstance(hashes, dict) or not all(isinstance(text, str) for text in hashes.values()):
        raise ValueError("hashes of data that are no dictionary of text")


def _check_number(
    content: Mapping[str, Any], name: str, types: Any, most: float = math.inf
) -> None:
    """Raises unless a field is a finite number from 0 on."""
    value = _field(content, name, types)
    if not (0 <= value <= most and value != math.inf):
        raise ValueError(f"{name}={shown(value)}")


def _field(content: Mapping[str, Any], name: str, types: Any) -> Any:
    """Returns a field of a dictionary; raises unless it is there and of these types."""
    if name not in content:
        raise ValueError(f"a file without {name!r}")
    value = content[name]
    if not isinstance(value, types) or isinstance(value, bool):
        raise ValueError(f"{name}={repr(value)[:100]}")
    return value
