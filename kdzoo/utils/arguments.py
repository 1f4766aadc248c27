"""Checks of arguments: each returns what was given, in one type, or raises `ValueError`."""

import itertools
import math
import numbers
import os
import pathlib
from collections.abc import Collection
from typing import Any

import numpy as np

from kdzoo.utils.errors import shown, unknown_name


def is_integer(value: Any, least: float = -math.inf, most: float = math.inf) -> bool:
    """Returns whether something is an integer of Python or NumPy in a range, and no boolean.

    An array without axes is one, as NumPy returns it for one number.

    Args:
        value: Anything.
        least: The smallest that is right.
        most: The largest that is right.
    """
    value = _scalar(value)
    is_right = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    return is_right and least <= int(value) <= most


def is_number(value: Any) -> bool:
    """Returns whether something is a real number of Python or NumPy, and no boolean.

    An array without axes is one, as NumPy returns it for one number.
    """
    value = _scalar(value)
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _scalar(value: Any) -> Any:
    """The number in a NumPy array without axes; anything else as it is."""
    return value[()] if isinstance(value, np.ndarray) and not value.ndim else value


def check_integer(name: str, value: Any, least: int | None = None, most: int | None = None) -> int:
    """Returns an integer of Python or NumPy as an `int`.

    Args:
        name: What the caller calls the number.
        value: What was given.
        least: The smallest that is right; None for any.
        most: The largest; None for any.

    Raises:
        ValueError: If it is no integer, or another one.

    Example:

    >>> check_integer("seed", -1, least=0)
    Traceback (most recent call last):
    ValueError: Expected seed to be an integer of at least 0. Received: seed=-1
    """
    low, high = (-math.inf if least is None else least), (math.inf if most is None else most)
    if not is_integer(value, low, high):
        raise ValueError(
            f"Expected {name} to be an integer{_range(least, most)}. Received: "
            f"{name}={shown(value)}"
        )
    return int(value)


def check_positive_integer(name: str, value: Any, most: int | None = None) -> int:
    """Returns an integer of Python or NumPy as an `int`.

    Args:
        name: What the caller calls the number.
        value: What was given.
        most: The largest that is right; None for any.

    Raises:
        ValueError: If it is no integer, below 1, or larger.

    Example:

    >>> check_positive_integer("batch_size", 2.5)
    Traceback (most recent call last):
    ValueError: Expected batch_size to be a positive integer. Received: batch_size=2.5
    """
    if not is_integer(value, 1):
        raise ValueError(
            f"Expected {name} to be a positive integer. Received: {name}={shown(value)}"
        )
    return check_integer(name, value, 1, most)


def check_number(
    name: str, value: Any, least: float | None = None, most: float | None = None
) -> float:
    """Returns a finite number of Python or NumPy as a `float`.

    Args:
        name: What the caller calls the number.
        value: What was given.
        least: The smallest that is right; None for any.
        most: The largest; None for any.

    Raises:
        ValueError: If it is no number, not finite, or another one.

    Example:

    >>> check_number("tolerance", "1e-3", least=0)
    Traceback (most recent call last):
    ValueError: Expected tolerance to be a finite number of at least 0. Received: tolerance='1e-3'
    """
    low, high = (-math.inf if least is None else least), (math.inf if most is None else most)
    if not is_number(value) or not low <= value <= high or not abs(value) < math.inf:
        raise ValueError(
            f"Expected {name} to be a finite number{_range(least, most)}. Received: "
            f"{name}={shown(value)}"
        )
    return float(value)


def check_increasing(name: str, values: Any, count: int | None = None) -> list[float]:
    """Returns numbers above 0 that increase as a list of floats.

    Args:
        name: What the caller calls them.
        values: What was given: a list, tuple or NumPy array.
        count: How many there have to be; one or more when None.

    Raises:
        ValueError: If they are others.
    """
    listed = values.tolist() if isinstance(values, np.ndarray) else values
    is_right = isinstance(listed, list | tuple) and len(listed) == (count or len(listed) or 1)
    limits = [0.0, *listed, math.inf] if is_right else []
    is_right = is_right and all(map(is_number, limits))
    if not is_right or not all(one < other for one, other in itertools.pairwise(limits)):
        many = "numbers" if count is None else f"{count} numbers"
        raise ValueError(
            f"Expected {name} to be {many} above 0 that increase. Received: {name}={shown(values)}"
        )
    return [float(value) for value in listed]


def _range(least: float | None, most: float | None) -> str:
    """Two limits in words, after what they limit."""
    if most is None:
        return "" if least is None else f" of at least {least}"
    return f" up to {most:,}" if least is None else f" from {least} to {most:,}"


def check_fraction(name: str, value: Any) -> float:
    """Returns a part of a whole that leaves something, from 0 to below 1, as a `float`.

    Args:
        name: What the caller calls it.
        value: What was given.

    Raises:
        ValueError: If it is no number, or another one.

    Example:

    >>> check_fraction("dropout", 1)
    Traceback (most recent call last):
    ValueError: Expected dropout to lie in [0, 1). Received: dropout=1
    """
    if not is_number(value) or not 0 <= value < 1:
        raise ValueError(f"Expected {name} to lie in [0, 1). Received: {name}={shown(value)}")
    return float(value)


def check_choice(
    what: str, name: Any, known: Collection[str], examples: Collection[str] | None = None
) -> str:
    """Returns a name that is one of those that are known.

    Args:
        what: What the name stands for, e.g. `"average"`.
        name: What was given.
        known: The names there are.
        examples: The names to list where none is near, if `known` are too many; None lists all.

    Raises:
        UnknownNameError: If it is another, or no string; a `ValueError`.

    Example:

    >>> check_choice("average", "logit", ("logits", "probabilities"))
    Traceback (most recent call last):
    kdzoo.utils.errors.UnknownNameError: Unknown average: 'logit'. Did you mean 'logits'?
    """
    if not isinstance(name, str) or name not in known:
        raise unknown_name(what, name, known, examples)
    return name


def check_text(name: str, value: Any, may_be_empty: bool = False) -> str:
    """Returns a string.

    Args:
        name: What the caller calls it.
        value: What was given.
        may_be_empty: Whether nothing has to be in it.

    Raises:
        ValueError: If it is none, or empty.
    """
    if not isinstance(value, str) or not (value or may_be_empty):
        raise ValueError(f"Expected {name} to be a string. Received: {name}={shown(value)}")
    return value


def check_flag(name: str, value: Any) -> bool:
    """Returns what is either so or not as a `bool`.

    Args:
        name: What the caller calls it.
        value: What was given: True or False, also NumPy's, or 1 or 0.

    Raises:
        ValueError: If it is something else, such as the text "False", which Python takes as true.

    Example:

    >>> check_flag("sparse", "no")
    Traceback (most recent call last):
    ValueError: Expected sparse to be True or False. Received: sparse='no'
    """
    if not isinstance(value, bool | np.bool_ | numbers.Integral) or value not in (0, 1):
        raise ValueError(f"Expected {name} to be True or False. Received: {name}={shown(value)}")
    return bool(value)


def check_name(value: Any, name: str = "name") -> str | None:
    """Returns the name of a model, layer or loss, or None where it is to be chosen.

    Args:
        value: What was given.
        name: What the caller calls it.

    Raises:
        ValueError: If it is no string, empty, or has a "/", which stands between names in paths.
    """
    if value is not None and (not isinstance(value, str) or not value or "/" in value):
        raise ValueError(
            f"Expected {name} to be a string without '/', with something in it, or None. "
            f"Received: {name}={shown(value)}"
        )
    return value


def check_numeric_array(name: str, value: Any) -> np.ndarray:
    """Returns numbers as an array.

    Args:
        name: What the caller calls the array.
        value: What was given: an array, or lists of one length.

    Raises:
        ValueError: If it is neither, or holds something else than real numbers.

    Example:

    >>> check_numeric_array("logits", [[1.0], [1.0, 2.0]])
    Traceback (most recent call last):
    ValueError: Expected logits to be an array of numbers. Received: logits=[[1.0], [1.0, 2.0]]
    """
    try:
        array = np.asarray(value)
        is_numeric = array.dtype.kind in "biuf" or "float" in array.dtype.name  # Also bfloat16.
    except (TypeError, ValueError, RuntimeError):  # Lists of several lengths.
        is_numeric = False
    if not is_numeric:
        raise ValueError(
            f"Expected {name} to be an array of numbers. Received: {name}={shown(value)}"
        )
    return array


def check_path(name: str, value: Any) -> pathlib.Path:
    """Returns a path that was given in any form as a `pathlib.Path`.

    Args:
        name: What the caller calls it.
        value: What was given.

    Raises:
        ValueError: If it is neither a string, with something in it, nor a path.

    Example:

    >>> check_path("directory", None)
    Traceback (most recent call last):
    ValueError: Expected directory to be a path. Received: directory=None
    """
    if not isinstance(value, str | os.PathLike) or value == "":
        raise ValueError(f"Expected {name} to be a path. Received: {name}={shown(value)}")
    return pathlib.Path(value)


def check_parents(path: pathlib.Path) -> None:
    """Raises `ValueError` if there is a file where one of the directories of a path belongs.

    Args:
        path: A `pathlib.Path`.
    """
    nearest = next((parent for parent in path.parents if parent.exists()), None)
    if nearest is not None and not nearest.is_dir():
        raise ValueError(f"Expected a directory. Received: {nearest}, a file, for {path}")


def check_writable(path: pathlib.Path) -> None:
    """Raises unless a file or directory can be made at a path, before anything is begun.

    Args:
        path: A `pathlib.Path`; neither it nor its directories need exist.

    Raises:
        ValueError: If there is a file where one of its directories belongs.
        PermissionError: If the nearest directory that exists cannot be written to.
    """
    check_parents(path)
    nearest = next((parent for parent in path.absolute().parents if parent.exists()), None)
    if nearest is not None and not os.access(nearest, os.W_OK | os.X_OK):
        raise PermissionError(
            f"Expected a directory that can be written to, for {path}. Received: {nearest}, which "
            "cannot; choose another place."
        )


def check_directory(directory: Any) -> pathlib.Path:
    """Returns what is to be a directory, missing or not, as a path.

    Args:
        directory: The directory.

    Raises:
        ValueError: If it is no path, or there is a file in place of it or of a directory above it.
    """
    directory = check_path("directory", directory)
    if directory.exists() and not directory.is_dir():
        raise ValueError(f"Expected a directory. Received: {directory}, a file")
    check_parents(directory)
    return directory
