"""The files of a checkpoint: how they are written, and how they are checked when they are read.

`state.json` holds the epoch, and the size and SHA-256 of the arrays beside it and of its own
content. A file that is not as it was written is `Damaged`, and the checkpoint before it may serve;
an undamaged checkpoint of another run is an error.
"""

import json
import math
import pathlib
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

import numpy as np
from safetensors.numpy import load, save

from kdzoo.training.checkpoints.state import State
from kdzoo.utils import first_line, read_bytes, read_object
from kdzoo.utils.hashed_json import digest, with_hash

STATE = "state.json"
ARRAYS = "state.safetensors"
FINISHED = "finished"  # Name of the directory of what `fit` returned.
FORMAT = 3
_FIELDS = ("epochs", "settings", "history")
_OF_HASHED = ("format", "shapes", "own", "not_finite", "files", "sha256")
_ALLOWANCE = 16 << 20  # Bytes.
_WHAT = "the state of a training"
_Result = TypeVar("_Result")


class Damaged(ValueError):
    """A checkpoint that is not as it was written; the message names the file and what is wrong.

    Args:
        path: The file.
        reason: What is wrong with it.
    """

    def __init__(self, path: pathlib.Path, reason: str):
        super().__init__(f"Expected {path} as the training wrote it. Received: {reason}")
        self.path, self.reason = path, reason


def pack(
    model_state: State,
    epochs: int,
    settings: Any,
    history: Mapping[str, list[float]],
    shapes: list[list[int]],
    requested: int | None = None,
) -> dict[str, bytes]:
    """Returns name -> bytes of the files of a checkpoint.

    Args:
        model_state: What `state_of` returns.
        epochs: The number of epochs that are done.
        settings: The value that identifies the run, as JSON gives it back.
        history: Name -> list of floats; numbers that are not finite are written as null.
        shapes: The shapes of the model's weights.
        requested: The number of epochs that the run was to have, if `fit` has returned.
    """
    arrays = model_state.arrays
    content = save(arrays)
    state = {
        "format": FORMAT,
        "epochs": epochs,
        "settings": settings,
        "history": {
            name: [value if math.isfinite(value) else None for value in values]
            for name, values in history.items()
        },
        "shapes": shapes,
        "own": sorted(model_state.own),
        # A layer may begin with infinity as its least value so far; no other array may hold it.
        "not_finite": sorted(
            name for name, array in arrays.items() if not np.isfinite(array).all()
        ),
        "files": {ARRAYS: {"sha256": digest(content), "bytes": len(content)}},
        **({} if requested is None else {"asked": requested}),
    }
    return {ARRAYS: content, STATE: json.dumps(with_hash(state)).encode()}


def read_state(directory: pathlib.Path, epochs: int) -> dict[str, Any]:
    """Returns the content of a checkpoint's `state.json`.

    Args:
        directory: The directory of the checkpoint.
        epochs: The number of epochs in the name of the directory.

    Returns:
        A dictionary with epochs, settings and history; with shapes, unless an early version wrote
        it; with files, own and not_finite, if its content is hashed.

    Raises:
        Damaged: If it is missing or not as it was written.
    """
    path = directory / STATE
    state = read_or_damaged(path, lambda: read_object(path, _WHAT))
    hashed = "format" in state or "sha256" in state
    fields = (*_FIELDS, *_OF_HASHED) if hashed else _FIELDS
    for field in fields:
        if field not in state:
            raise Damaged(path, f"no field {field!r}")
    if hashed and state["sha256"] != with_hash(state)["sha256"]:
        raise Damaged(path, "a content that its SHA-256 is not of")
    if hashed and (state["format"] != FORMAT or isinstance(state["format"], bool)):
        raise Damaged(path, f"format {state['format']!r}, which this version does not know")
    if type(state["epochs"]) is not int or state["epochs"] != epochs:
        raise Damaged(path, f"epochs={state['epochs']!r} in {directory.name}")
    if not _is_history(state["history"], epochs, hashed):
        raise Damaged(path, "a history that is not of lists of numbers, one for each epoch")
    if hashed and not _is_list_of_files(state):
        raise Damaged(path, f"other files than {ARRAYS!r}")
    state["history"] = {
        name: [math.nan if value is None else float(value) for value in values]
        for name, values in state["history"].items()
    }
    return state


def requested_epochs(directory: pathlib.Path, epochs: int) -> int | None:
    """Returns how many epochs the run was to have that `fit` finished, or None.

    Args:
        directory: The directory of what `fit` returned.
        epochs: The number of epochs that are done; None is returned if more were, or fewer.

    Raises:
        Damaged: If it is not as it was written.
    """
    path = directory / STATE
    done = read_or_damaged(path, lambda: read_object(path, _WHAT)).get("epochs")
    if type(done) is int and done != epochs:
        return None
    requested = read_state(directory, epochs).get("asked")
    if type(requested) is not int:
        raise Damaged(path, "no number of epochs that were requested")
    return requested


def read_arrays(
    directory: pathlib.Path, state: dict[str, Any], expected: State
) -> dict[str, np.ndarray]:
    """Returns name -> array of a checkpoint with hashes.

    Args:
        directory: The directory of the checkpoint.
        state: What `read_state` returned.
        expected: The `State` of the model that will take the arrays.

    Raises:
        Damaged: If the file is missing, of another size or hash, or not of finite numbers.
        ValueError: If it is undamaged and of another model or optimizer.
    """
    path, described = directory / ARRAYS, state["files"][ARRAYS]
    content = read_or_damaged(path, lambda: read_bytes(path, most_bytes(expected.arrays)))
    if len(content) != described["bytes"]:
        raise Damaged(path, f"{len(content):,} bytes in place of {described['bytes']:,}")
    if digest(content) != described["sha256"]:
        raise Damaged(path, "a content that its SHA-256 is not of")
    arrays = read_or_damaged(path, lambda: load(content))
    ours = {name: array for name, array in arrays.items() if name not in state["own"]}
    theirs = {name: array for name, array in expected.arrays.items() if name not in expected.own}
    difference = _difference(ours, theirs)
    if difference:
        raise ValueError(
            f"Expected {path} to hold this model with this optimizer. Received: {difference}; "
            "choose another directory or delete it."
        )
    check_finite(path, arrays, state["not_finite"])
    return arrays


def check_finite(
    path: pathlib.Path, arrays: Mapping[str, np.ndarray], allowed: Collection[str] = ()
) -> None:
    """Raises `Damaged` if arrays hold NaN or infinity.

    Args:
        path: The file that they are from.
        arrays: Name -> array.
        allowed: Names of arrays that may hold them.
    """
    for name, array in arrays.items():
        if name not in allowed and not np.isfinite(array).all():
            raise Damaged(path, f"NaN or infinity in {name!r}")


def most_bytes(expected: Mapping[str, np.ndarray]) -> int:
    """Returns the most bytes that a file of these arrays may have: twice theirs, and 16 MiB."""
    return 2 * sum(array.nbytes for array in expected.values()) + _ALLOWANCE


def read_or_damaged(path: pathlib.Path, read: Callable[[], _Result]) -> _Result:
    """Returns what a function reads from a file; whatever it raises becomes `Damaged`.

    Args:
        path: The file.
        read: Function without arguments. Readers of damaged files raise errors of many classes.
    """
    try:
        return read()
    except Damaged:
        raise
    except FileNotFoundError as error:
        raise Damaged(path, "no such file") from error
    except Exception as error:
        reason = first_line(error).rpartition("Received: ")[2]
        raise Damaged(path, reason) from error


def _is_history(history, epochs, hashed):
    """Whether a value is name -> list of at most `epochs` numbers; null stands for NaN."""
    # Checkpoints without hashes hold NaN itself.
    fine = math.isfinite if hashed else (lambda value: True)
    return isinstance(history, dict) and all(
        isinstance(values, list)
        and 0 < len(values) <= epochs
        and all(
            value is None or (type(value) in (int, float) and _as_float(value) and fine(value))
            for value in values
        )
        for values in history.values()
    )


def _as_float(value):
    """Whether a number of JSON, which may have a thousand digits, fits a float."""
    try:
        float(value)
    except OverflowError:
        return False
    return True


def _is_list_of_files(state):
    files, names = state["files"], (state["not_finite"], state["own"])
    described = files.get(ARRAYS) if isinstance(files, dict) else None
    return (
        isinstance(described, dict)
        and set(files) == {ARRAYS}
        and type(described.get("bytes")) is int
        and isinstance(described.get("sha256"), str)
        and all(isinstance(part, list) for part in names)
        and all(isinstance(name, str) for part in names for name in part)
    )


def _form(array):
    return array.shape, array.dtype.name


def _difference(arrays, expected):
    """The first difference between two states in words, or None."""
    for name in sorted({*arrays, *expected}):
        if name not in arrays:
            return f"no array {name!r}"
        if name not in expected:
            return f"an array {name!r} that they do not have"
        if _form(arrays[name]) != _form(expected[name]):
            shape, dtype = _form(arrays[name])
            return f"{name!r} of shape {shape} in {dtype}"
    return None
