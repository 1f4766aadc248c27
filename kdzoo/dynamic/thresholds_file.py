"""The JSON file of a classifier's thresholds: how it is written, and read without trust."""

import hashlib
import json
import math
from collections.abc import Sequence
from typing import NamedTuple

import keras
import numpy as np

from kdzoo.graph.confidence import CONFIDENCES, Confidence
from kdzoo.utils import is_number, read_object, write_bytes
from kdzoo.utils.field_checks import check_fields, is_sha256
from kdzoo.utils.hashed_json import check_hash, hashed_json
from kdzoo.utils.types import PathLike

_WHAT = "thresholds of exits"
_MOST = 1 << 12  # Exits.


class Settings(NamedTuple):
    """What the file says.

    Attributes:
        confidence: How sure an exit is.
        costs: The cost of a sample up to each exit.
        thresholds: The least confidence with which each exit but the last stops.
    """

    confidence: Confidence
    costs: list[float]
    thresholds: list[float]


def _is_numbers(value):
    is_list = isinstance(value, list) and len(value) <= _MOST
    return is_list and all(number is None or is_number(number) for number in value)


_FIELDS = {
    "format": lambda value: value == _WHAT,
    "confidence": lambda value: isinstance(value, str) and value in CONFIDENCES,
    "costs": _is_numbers,
    "thresholds": _is_numbers,
    "network": is_sha256,
    "sha256": is_sha256,
}
"""Name of a field of the file -> whether a value fits it."""


def write(path: PathLike, settings: Settings, parts: Sequence[keras.Model]) -> None:
    """Writes the file.

    Args:
        path: Where.
        settings: What it says.
        parts: The parts of the network, which it is for.
    """
    # JSON has no infinity: null is a threshold that no sample reaches.
    thresholds = [value if math.isfinite(value) else None for value in settings.thresholds]
    content = {
        "format": _WHAT,
        "confidence": settings.confidence,
        "costs": settings.costs,
        "thresholds": thresholds,
        "network": _hash_of(parts),
    }
    write_bytes(path, hashed_json(content))


def read(path: PathLike, parts: Sequence[keras.Model]) -> Settings:
    """Returns what the file says.

    Args:
        path: The file.
        parts: The parts of the network that it must be for.

    Raises:
        ValueError: If it is no such file, was altered, or is of another network.
    """
    content = read_object(path, _WHAT)
    try:
        check_fields("file of thresholds", content, _FIELDS)
    except ValueError as error:
        raise ValueError(f"{error}, in {path}") from error
    check_hash(path, content, "write it again by `save_thresholds`")
    if content["network"] != _hash_of(parts):
        raise ValueError(
            f"Expected thresholds of this network. Received: {path}, which is of one with other "
            "weights; call `fit` on validation samples."
        )
    thresholds = [math.inf if value is None else value for value in content["thresholds"]]
    return Settings(content["confidence"], content["costs"], thresholds)


def _hash_of(parts):
    """The SHA-256 of the weights of a network."""
    found = hashlib.sha256()
    for weight in (weight for part in parts for weight in part.weights):
        array = np.asarray(keras.ops.convert_to_numpy(weight))
        found.update(json.dumps([list(array.shape), str(array.dtype)]).encode())
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()
