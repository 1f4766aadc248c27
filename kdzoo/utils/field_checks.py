"""What a file may say: fields, each with a value of the right type and range.

Files may come from strangers. A predicate `is_...` says whether a value fits, whatever the value
is; a check raises a `ValueError` that says in a few words what is wrong, to which the reader of the
file adds which file it is.
"""

import math
import numbers
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from kdzoo.utils.arguments import is_integer, is_number
from kdzoo.utils.errors import shown

_LONGEST = 256  # Characters of a string in a configuration.
_LONGEST_TEXT = 10_000  # Characters of a string elsewhere.
_MOST = 1 << 53  # Of anything that is counted.
_SHA256 = re.compile(r"[0-9a-f]{64}")

DEEPEST = 4
"""How many lists and dictionaries a plain value may lie in."""

# Keys by which a deserializer takes a dictionary for an object.
_OF_OBJECTS = ("class_name", "module", "registered_name", "shared_object_id")


def is_plain(value: Any, depth: int = 0) -> bool:
    """Whether a value is a number, a short string, None, or a list of such.

    Args:
        value: The value.
        depth: How many lists it lies in.
    """
    if isinstance(value, list | tuple):
        return depth < DEEPEST and all(is_plain(part, depth + 1) for part in value)
    if isinstance(value, str):
        return len(value) <= _LONGEST
    return value is None or isinstance(value, numbers.Real)


def is_plain_tree(value: Any, depth: int = 0) -> bool:
    """Whether a value is plain, or a dictionary of such that no deserializer takes for an object.

    Args:
        value: The value.
        depth: How many lists and dictionaries it lies in.
    """
    if not isinstance(value, dict):
        if isinstance(value, list | tuple):
            return depth < DEEPEST and all(is_plain_tree(part, depth + 1) for part in value)
        return is_plain(value)
    return depth < DEEPEST and all(
        isinstance(key, str)
        and len(key) <= _LONGEST
        and key not in _OF_OBJECTS
        and not key.startswith("__")
        and is_plain_tree(part, depth + 1)
        for key, part in value.items()
    )


def is_boolean(value: Any) -> bool:
    """Whether a value is True or False."""
    return isinstance(value, bool)


def is_dictionary(value: Any) -> bool:
    """Whether a value is a dictionary, whose content is checked elsewhere."""
    return isinstance(value, dict)


def is_finite_number(value: Any) -> bool:
    """Whether a value is a finite number."""
    return is_number(value) and math.isfinite(value)


def is_count(value: Any) -> bool:
    """Whether a value is a positive integer."""
    return is_integer(value, 1, 2**31 - 1)


def is_counts(value: Any) -> bool:
    """Whether a value is None or a short list of positive integers."""
    is_list = isinstance(value, list | tuple) and len(value) <= 16
    return value is None or (is_list and all(map(is_count, value)))


def is_name(value: Any) -> bool:
    """Whether a value is a string as layers and types are named by."""
    return isinstance(value, str) and 0 < len(value) <= _LONGEST


def is_list_of_names(value: Any) -> bool:
    """Whether a value is a list of names of layers."""
    return isinstance(value, list | tuple) and all(map(is_name, value))


def check_fields(
    what: str,
    given: Any,
    checks: Mapping[str, Callable[[Any], bool]],
    optional: Collection[str] = (),
) -> None:
    """Raises unless a part of a configuration has just these fields, each with a value that fits.

    Args:
        what: What the part describes, for the error.
        given: The part, as it came from a file.
        checks: Name of a field -> function that says whether a value fits.
        optional: Names of fields that may be missing.

    Raises:
        ValueError: If it is no dictionary, a field is missing, unknown or does not fit.
    """
    if not isinstance(given, dict):
        raise ValueError(
            f"Expected the configuration of a {what} as fields with names. Received: {shown(given)}"
        )
    for name in given:
        if name not in checks:
            raise ValueError(
                f"Expected the fields {', '.join(checks) or '(none)'} of a {what}. Received: "
                f"{shown(name)}"
            )
    for name, fits in checks.items():
        if name not in given and name in optional:
            continue
        if name not in given or not fits(given[name]):
            found = shown(given[name]) if name in given else "none"
            raise ValueError(
                f"Expected a plain value that fits the field {name!r} of a {what}. Received: "
                f"{name}={found}"
            )


def is_sha256(value: Any) -> bool:
    """Whether a value is a SHA-256 in hexadecimal."""
    return isinstance(value, str) and _SHA256.fullmatch(value) is not None


def check_type(name: str, value: Any, expected: type) -> None:
    """Raises `ValueError` unless the value of a field is of a type; True and False are no integers.

    Args:
        name: What the field is called.
        value: Its value, as JSON holds it.
        expected: The type. A text may have 10,000 characters; a float has to be finite.
    """
    if not isinstance(value, expected) or (isinstance(value, bool) and expected is not bool):
        raise ValueError(f"{name}={shown(value)} where a {expected.__name__} belongs")
    if isinstance(value, str) and len(value) > _LONGEST_TEXT:
        raise ValueError(f"{name} of {len(value):,} characters")
    if isinstance(value, float):
        check_measure(name, value, least=-math.inf)


def check_types(part: Mapping[str, Any], types: Mapping[str, type]) -> None:
    """Raises `ValueError` unless a part of a file has these fields, each of its type.

    Args:
        part: The part; it may have other fields, too.
        types: Name of a field -> the type of its value.
    """
    for name, expected in types.items():
        if name not in part:
            raise ValueError(f"no {name!r} in it")
        check_type(name, part[name], expected)


def check_count(name: str, value: Any, least: float = 0, most: float = _MOST) -> None:
    """Raises `ValueError` unless the value of a field is an integer in a range.

    Args:
        name: What the field is called.
        value: Its value, as JSON holds it.
        least: The smallest that is right.
        most: The largest that is right.
    """
    check_type(name, value, int)
    if not least <= value <= most:
        raise ValueError(f"{name} of {shown(value)}")


def check_measure(name: str, value: Any, least: float = 0, most: float = math.inf) -> None:
    """Raises `ValueError` unless the value of a field is a finite number in a range.

    Args:
        name: What the field is called.
        value: Its value, as JSON holds it; an integer is a number, too.
        least: The smallest that is right.
        most: The largest that is right.
    """
    if not is_number(value) or not least <= value <= most or abs(value) == math.inf:
        raise ValueError(f"{name}={shown(value)} where a number belongs")


def check_sha256(name: str, value: Any) -> None:
    """Raises `ValueError` unless the value of a field is a SHA-256 in hexadecimal."""
    if not is_sha256(value):
        raise ValueError(f"{name}={shown(value)} where a SHA-256 belongs")
