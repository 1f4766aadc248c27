"""JSON files that carry the SHA-256 of what they say: one way to write them and to check them.

The hash is that of the values, not of the file's bytes, so that a file may be formatted anew. It
reveals damage, not intent: an attacker who alters a file can also write the hash that fits, so
readers check what the file says in any case.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any


def digest(content: bytes | bytearray | memoryview) -> str:
    """Returns the SHA-256 of bytes, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def with_hash(
    content: Mapping[str, Any], key: str = "sha256", part: str | None = None
) -> dict[str, Any]:
    """Returns the content of a JSON file with its own hash.

    Args:
        content: The fields.
        key: The field that holds the hash. It keeps its place among the fields if it is there
            already, whatever it holds; otherwise it comes last.
        part: The field that is hashed; None for all but the hash.

    Example:

    >>> with_hash({"version": 1, "sha256": None, "models": []}, part="models")["sha256"][:12]
    '4f53cda18c2b'
    """
    return {**content, key: _hash(content, key, part)}


def hashed_json(
    content: Mapping[str, Any], key: str = "sha256", part: str | None = None, indent: int = 1
) -> bytes:
    """Returns the bytes of a JSON file that carries its own hash.

    Args:
        content: The fields.
        key: The field that holds the hash. It keeps its place among the fields if it is there
            already, whatever it holds; otherwise it comes last.
        part: The field that is hashed; None for all but the hash.
        indent: Spaces by which each level is indented.
    """
    return (json.dumps(with_hash(content, key, part), indent=indent) + "\n").encode()


def check_hash(
    path: os.PathLike[str] | str,
    content: Mapping[str, Any],
    remedy: str,
    key: str = "sha256",
    part: str | None = None,
) -> None:
    """Raises `ValueError` unless what was read from a JSON file has the hash that it carries.

    Args:
        path: The file, for the error.
        content: The fields that were read.
        remedy: What to do about a file that was altered, for the error.
        key: The field that holds the hash.
        part: The field that is hashed; None for all but the hash.
    """
    try:
        is_whole = content.get(key) == _hash(content, key, part)
    except RecursionError:  # Lists within lists without end.
        is_whole = False
    if not is_whole:
        raise ValueError(
            f"Expected {path} as it was written. Received: one that was altered; {remedy}."
        )


def _hash(content: Mapping[str, Any], key: str, part: str | None) -> str:
    hashed = (
        {name: value for name, value in content.items() if name != key}
        if part is None
        else content.get(part)
    )
    return digest(json.dumps(hashed, sort_keys=True).encode())
