"""The index of a record of a teacher, checked whole before anything is done with what it says.

Its hash reveals damage, not intent: an attacker who alters an index can also write the hash that
fits.
"""

import dataclasses
import math
import pathlib
from typing import Any

import numpy as np

from kdzoo.data.augmentation import Augmentation
from kdzoo.teacher_cache.teacher_predictor import LOGITS
from kdzoo.teacher_cache.top_k_logits import LARGEST, OF_TOP_K, PLACES, REST
from kdzoo.utils import is_integer, is_number, read_object, shown
from kdzoo.utils.field_checks import check_count, check_sha256, check_type
from kdzoo.utils.hashed_json import check_hash

FORMAT = 2
INDEX = "index.json"

_EXPECTED = "the index of a record; if it is none, record into another directory"
_PARTS = {"format", "teacher", "precision", "data", "examples", "augmentation", "seed", "views"}
_PARTS |= {"top_k", "classes", "fields", "examples_a_shard", "probe", "complete", "shards"}
_SHARD = {"view", "start", "stop", "sha256"}
_MOST = 1 << 40  # Of anything that is counted.
_MOST_BYTES = 1 << 30  # Of one record.

MOST_BYTES = 64 << 20
"""Bytes of an index; its probe holds four numbers for each class."""


def read_index(path: pathlib.Path) -> dict[str, Any]:
    """Returns the index of a record, a dictionary of parts that fit each other.

    Args:
        path: The index's path.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is damaged, of another version of kdzoo, or says what no record can be.
    """
    index = read_object(path, _EXPECTED, MOST_BYTES)
    found = index.get("format")
    if found is None:
        raise ValueError(
            f"Expected {path} to be {_EXPECTED}. Received: a JSON file without a format"
        )
    if found != FORMAT:
        raise ValueError(
            f"Expected a record in format {FORMAT}. Received: {path.parent} in format {found!r}; "
            "record again, or take the kdzoo that wrote it."
        )
    check_hash(path, index, "record into another directory")
    del index["sha256"]
    try:
        _check(index)
    except ValueError as error:
        raise ValueError(f"Expected {path} to be {_EXPECTED}. Received: {error}") from error
    return index


def shard_name(view: int, start: int) -> str:
    """Returns the name of the file of a view's outputs from some sample on.

    Args:
        view: The number of the view.
        start: The position of the file's first sample.
    """
    return f"view-{view:04}-from-{start:08}.arrayrecord"


def _check(index: dict[str, Any]) -> None:
    """Raises `ValueError`, with what is wrong, unless an index is one that kdzoo writes."""
    _check_keys("index", index, _PARTS)
    for name in ("examples", "views", "classes", "examples_a_shard"):
        check_count(name, index[name], 1, _MOST)
    for name in ("teacher", "data"):
        check_sha256(name, index[name])
    check_type("seed", index["seed"], int)
    check_type("complete", index["complete"], bool)
    check_type("precision", index["precision"], list)
    for dtype in index["precision"]:
        check_type("precision", dtype, str)
    _check_augmentation(index["augmentation"])
    _check_fields(index)
    _check_probe(index)
    _check_shards(index)


def _check_augmentation(given):
    if given is None:
        return
    _check_keys("augmentation", given, {field.name for field in dataclasses.fields(Augmentation)})
    check_type("flip", given["flip"], bool)
    for name in ("shift", "cutout"):
        check_count(name, given[name], 0, 1 << 20)


def _check_fields(index):
    """Raises unless the fields are logits, whole or the largest, and outputs of layers."""
    fields, classes, top_k = (index[name] for name in ("fields", "classes", "top_k"))
    if not isinstance(fields, list) or not all(map(_is_field, fields)):
        raise ValueError("fields that are no list of a name, a shape and a type each")
    dtype = fields[0][2] if fields else None
    if dtype not in ("float16", "float32"):
        raise ValueError(f"fields of the type {dtype!r}")
    wanted = [[LOGITS, [classes], dtype]]
    if top_k is not None:
        check_count("top_k", top_k, 1, classes - 1)
        wanted = [[LARGEST, [top_k], dtype], [PLACES, [top_k], "int32"], [REST, [1], dtype]]
    if fields[: len(wanted)] != wanted:
        raise ValueError(f"the fields {shown(fields)} instead of {wanted}")
    layers = fields[len(wanted) :]
    if any(of_layer != dtype for _, _, of_layer in layers):
        raise ValueError(f"layers of other types than {dtype}")
    names = [name for name, _, _ in layers]
    if len({LOGITS, *OF_TOP_K, *names}) != 1 + len(OF_TOP_K) + len(names):
        raise ValueError(f"two fields of one name among {shown(names)}")
    size = sum(math.prod(shape) * np.dtype(of_field).itemsize for _, shape, of_field in fields)
    if size > _MOST_BYTES:
        raise ValueError(f"records of {size:,} bytes")


def _is_field(field):
    """Whether something is the name, the shape and the type of a part of a record."""
    if not isinstance(field, list) or len(field) != 3:
        return False
    name, shape, dtype = field
    is_named = isinstance(name, str) and name and isinstance(dtype, str)
    is_shape = isinstance(shape, list) and len(shape) < 16
    return bool(is_named and is_shape and all(is_integer(size, 1, _MOST) for size in shape))


def _check_probe(index):
    probe, classes = index["probe"], index["classes"]
    is_list = isinstance(probe, list) and 0 < len(probe) <= index["examples"]
    if not is_list or not all(_are_finite(row, classes) for row in probe):
        raise ValueError(f"a probe that is no list of {classes} finite numbers for an image")


def _check_shards(index):
    """Raises unless each shard is one that the index's sizes call for; all of them if complete."""
    shards, examples, size = (index[name] for name in ("shards", "examples", "examples_a_shard"))
    if not isinstance(shards, dict):
        raise ValueError("shards that are no dictionary")
    for name, shard in shards.items():
        _check_keys(f"shard {name!r}", shard, _SHARD)
        view, start, stop = (shard[key] for key in ("view", "start", "stop"))
        check_count("view", view, 0, index["views"] - 1)
        check_count("start", start, 0, examples - 1)
        if start % size or type(stop) is not int or stop != min(start + size, examples):
            raise ValueError(f"the samples {start!r} to {stop!r} in the shard {name!r}")
        if name != shard_name(view, start):
            raise ValueError(f"a shard {name!r} instead of {shard_name(view, start)!r}")
        check_sha256("sha256", shard["sha256"])
    # Each has its own place, so that as many as there are places leave no gap.
    needed = index["views"] * -(-examples // size)
    if index["complete"] and len(shards) != needed:
        raise ValueError(f"{len(shards)} shards of a complete record of {needed}")


def _check_keys(what, part, keys):
    if not isinstance(part, dict) or part.keys() != keys:
        found = sorted(part) if isinstance(part, dict) else part
        raise ValueError(f"the {what} of {shown(found)} instead of {sorted(keys)}")


def _are_finite(row, count):
    """Whether something is a list of so many finite numbers."""
    if not isinstance(row, list) or len(row) != count:
        return False
    # The largest of float32, in which they were; an integer may be too large for a float.
    return all(is_number(number) and -3.5e38 < number < 3.5e38 for number in row)
