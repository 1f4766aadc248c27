"""The JSON files of a run, read without trust: every field that is used has its type and range."""

import math

from kdzoo.utils import read_object, shown

_SHARES = ("test_accuracy", "validation_accuracy", "keras_accuracy", "agreement", "sparsity")
_COUNTS = ("test_errors", "parameters", "bytes", "gzipped_bytes")
_HASHES = ("weights", "teacher_weights", "start_weights")  # Older results do not have them.


def read_result(path):
    """Returns what a training that is finished left in a file, a dictionary.

    Args:
        path: The file, a path.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is damaged.
    """
    what = f"the result of a training; delete {path.parent.name}, which is then trained again"
    return _read(path, what, _check_result)


def read_results(path):
    """Returns the results of a recipe, a dictionary with "settings", "versions" and "rows".

    Args:
        path: The file, a path.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is damaged.
    """
    return _read(path, "the results of a recipe", _check_results)


def read_data(path):
    """Returns which data a run is of, a dictionary with "name", "version" and "sha256".

    Args:
        path: The file, a path.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is damaged.
    """
    what = "what data a run is of; put it back, or delete it if they are the same"
    return _read(path, what, _check_data)


def read_seconds(path):
    """Returns the seconds of a training so far and the commits that ran it, a dictionary.

    Args:
        path: The file, a path.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is damaged.
    """
    what = "the seconds of a training; delete it to count anew"
    return _read(path, what, _check_seconds)


def _read(path, what, check):
    content = read_object(path, what)
    try:
        check(content)
    except ValueError as error:
        raise ValueError(f"Expected {path} to be {what}. Received: {error}") from error
    return content


def _check_result(content):
    _check_row(content)
    settings = _field(content, "settings", dict)
    for name in ("kind", "seed"):
        if settings.get(name, content[name]) != content[name]:
            found, wanted = shown(content[name]), shown(settings[name])
            raise ValueError(f"{name}={found} with settings of {wanted}")


def _check_results(content):
    for name in ("settings", "versions"):
        _field(content, name, dict)
    for row in _field(content, "rows", list):
        if not isinstance(row, dict):
            raise ValueError("a row that is no dictionary")
        _check_row(row)
    _check_hashes(content.get("data_sha256", {}))


def _check_data(content):
    _field(content, "name", str)
    if not isinstance(content.get("version"), str | None):
        raise ValueError(f"version={shown(content['version'])}")
    _check_hashes(_field(content, "sha256", dict))


def _check_seconds(content):
    if not _is_number(_field(content, "seconds", int | float), math.inf):
        raise ValueError(f"seconds={shown(content['seconds'])}")
    if not all(isinstance(commit, str) for commit in _field(content, "commits", list)):
        raise ValueError("a commit that is no text")


def _check_row(row):
    """Raises unless a row names its model, and what was measured of it is in its range."""
    _field(row, "kind", str)
    _field(row, "seed", int)
    for names, kinds, most in ((_SHARES, int | float, 1), (_COUNTS, int, math.inf)):
        for name in names:
            if name in row and not _is_number(_field(row, name, kinds), most):
                raise ValueError(f"{name}={shown(row[name])}")
    if row.get("seconds") is not None and not _is_number(row["seconds"], math.inf):
        raise ValueError(f"seconds={shown(row['seconds'])}")
    _field({"versions": {}, **row}, "versions", dict)
    for name in _HASHES:
        if not isinstance(row.get(name), str | None):
            raise ValueError(f"{name}={shown(row[name])}")
    if "test_accuracy" not in row:
        raise ValueError("no 'test_accuracy' in it")


def _check_hashes(hashes):
    if not isinstance(hashes, dict) or not all(isinstance(each, str) for each in hashes.values()):
        raise ValueError("hashes of data that are no dictionary of text")


def _field(content, name, kind):
    """Returns a field of a dictionary; raises unless it is there and of this type."""
    if name not in content:
        raise ValueError(f"a file without {name!r}")
    value = content[name]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError(f"{name}={repr(value)[:100]}")
    return value


def _is_number(value, most):
    """Whether something is a finite number from 0 on."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and 0 <= value <= most and value != math.inf
