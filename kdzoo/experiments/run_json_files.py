"""The JSON files of a run, read without trust: every field that is used has its type and range.

Each reader returns a dictionary, and raises `FileNotFoundError` where there is no file and
`ValueError`, which says what to do, for one that is damaged.
"""

import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from kdzoo.experiments.training_settings import FLOAT32, HALF
from kdzoo.utils import check_choice, is_number, read_object, shown, write_text
from kdzoo.utils.field_checks import (
    check_count,
    check_measure,
    check_sha256,
    check_type,
    check_types,
)

_FRACTIONS = ("test_accuracy", "validation_accuracy", "keras_accuracy", "agreement", "sparsity")
_COUNTS = ("test_errors", "parameters", "bytes", "gzipped_bytes", "unique_weights")
_HASHES = ("weights", "identity")  # Results of an earlier kdzoo lack them.
_OF_A_ROW = ("kind", "seed", "seconds", "versions", "precisions", "products", "history", "settings")
RESERVED = (*_OF_A_ROW, *_HASHES)
"""What a row says of itself, whatever was measured."""


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


def read_precisions(path: pathlib.Path) -> dict[str, str]:
    """Returns setting -> the dtype policy that a stage has chosen for it."""
    what = "what a training computes in; delete it to choose anew"
    return _read(path, what, _check_precisions)


def _read(path: pathlib.Path, what: str, check: Callable[[Any], None]) -> dict[str, Any]:
    content = read_object(path, what)
    try:
        check(content)
    except ValueError as error:
        raise ValueError(f"Expected {path} to be {what}. Received: {error}") from error
    return content


def _check_result(content: Mapping[str, Any]) -> None:
    check_row(content)
    check_types(content, {"settings": dict})
    settings = content["settings"]
    for name in ("kind", "seed"):
        if settings.get(name, content[name]) != content[name]:
            found, wanted = shown(content[name]), shown(settings[name])
            raise ValueError(f"{name}={found} with settings of {wanted}")


def _check_results(content: Mapping[str, Any]) -> None:
    check_types(content, {"settings": dict, "versions": dict, "rows": list})
    for row in content["rows"]:
        check_type("row", row, dict)
        check_row(row)
    _check_hashes(content.get("data_sha256", {}))


def _check_data(content: Mapping[str, Any]) -> None:
    check_types(content, {"name": str, "sha256": dict})
    if content.get("version") is not None:
        check_type("version", content["version"], str)
    _check_hashes(content["sha256"])


def _check_seconds(content: Mapping[str, Any]) -> None:
    check_types(content, {"commits": list})
    check_measure("seconds", content.get("seconds"))
    for commit in content["commits"]:
        check_type("commit", commit, str)


def check_row(row: Mapping[str, Any]) -> None:
    """Raises `ValueError` unless a row names its model and what was measured is in its range."""
    check_types({"versions": {}, **row}, {"kind": str, "seed": int, "versions": dict})
    check_measure("test_accuracy", row.get("test_accuracy"), most=1)
    for name in row:
        if name in _FRACTIONS:
            check_measure(name, row[name], most=1)
        elif name in _COUNTS:
            check_count(name, row[name])
    if row.get("seconds") is not None:
        check_measure("seconds", row["seconds"])
    check_type("products", row.get("products", {}), dict)
    for name, sha256 in row.get("products", {}).items():
        check_sha256(f"products of {name!r}", sha256)
    _check_precisions(row.get("precisions", {}))
    _check_history(row.get("history", {}))
    # What it was made from has a field for each role, as `teacher_weights`.
    made_from = [name for name in row if name.endswith("_weights") and name not in _COUNTS]
    for name in (*_HASHES, *made_from):
        value = row.get(name)
        for text in value if isinstance(value, list) and name in made_from else [value]:
            if text is not None:
                check_type(name, text, str)


def _check_history(history: Any, is_part: bool = False) -> None:
    """Raises unless a history has lists of numbers or None, or such a history for each training."""
    check_type("history", history, dict)
    for name, values in history.items():
        if isinstance(values, dict) and not is_part:
            _check_history(values, is_part=True)
            continue
        check_type(f"history of {name}", values, list)
        for value in values:
            if value is not None and not is_number(value):
                raise ValueError(f"{shown(value)} in the history of {name}")


def _check_precisions(chosen: Any) -> None:
    check_type("precisions", chosen, dict)
    for setting, policy in chosen.items():
        check_choice(setting, policy, (FLOAT32, HALF))


def _check_hashes(hashes: Any) -> None:
    check_type("data_sha256", hashes, dict)
    for name, sha256 in hashes.items():
        check_type(name, sha256, str)
