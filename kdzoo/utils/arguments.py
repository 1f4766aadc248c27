"""Checks of arguments that every part may be given."""

import numbers
import os
import pathlib
import reprlib

import numpy as np

_LONGEST = 80  # Characters of what was given that an error shows.
_SHORTENED = reprlib.Repr()
_SHORTENED.maxstring = _SHORTENED.maxother = _SHORTENED.maxlong = _LONGEST


def shown(value):
    """Returns what somebody gave as an error shows it: in one line, and short.

    Args:
        value: Anything.

    Example:

    >>> shown("text"), shown(np.zeros((2, 3)))
    ("'text'", 'an array of float64 of shape (2, 3)')
    """
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        kind = getattr(value.dtype, "name", value.dtype)
        return f"an array of {kind} of shape {tuple(value.shape)}"
    text = _SHORTENED.repr(value).replace("\n", " ")
    return text if len(text) <= 2 * _LONGEST else f"{text[: 2 * _LONGEST]}..."


def check_positive_integer(name, value, most=None):
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
    value = _scalar(value)
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 1:
        raise ValueError(
            f"Expected {name} to be a positive integer. Received: {name}={shown(value)}"
        )
    return int(value) if most is None else check_integer(name, value, 1, most)


def check_integer(name, value, least=None, most=None):
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
    value = _scalar(value)
    is_integer = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    low, high = (-np.inf if least is None else least), (np.inf if most is None else most)
    if not is_integer or not low <= value <= high:
        raise ValueError(
            f"Expected {name} to be an integer{_range(least, most)}. Received: "
            f"{name}={shown(value)}"
        )
    return int(value)


def is_number(value):
    """Returns whether something is a real number of Python or NumPy, and no boolean.

    An array without axes is one, as NumPy gives it where one number was asked for.
    """
    value = _scalar(value)
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _scalar(value):
    """The number in a NumPy array without axes; anything else as it is."""
    return value[()] if isinstance(value, np.ndarray) and not value.ndim else value


def check_number(name, value, least=None, most=None):
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
    low, high = (-np.inf if least is None else least), (np.inf if most is None else most)
    if not is_number(value) or not low <= value <= high or not abs(value) < np.inf:
        raise ValueError(
            f"Expected {name} to be a finite number{_range(least, most)}. Received: "
            f"{name}={shown(value)}"
        )
    return float(value)


def _range(least, most):
    """Two limits in words, after what they limit."""
    if most is None:
        return "" if least is None else f" of at least {least}"
    return f" up to {most:,}" if least is None else f" from {least} to {most:,}"


def check_text(name, value, may_be_empty=False):
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


def check_flag(name, value):
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


def check_name(value, name="name"):
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


def check_numeric_array(name, value):
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


def check_path(name, value):
    """Returns what somebody gave as a path as a `pathlib.Path`.

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


def check_parents(path):
    """Raises `ValueError` if there is a file where one of the directories of a path belongs.

    Args:
        path: A `pathlib.Path`.
    """
    nearest = next((each for each in path.parents if each.exists()), None)
    if nearest is not None and not nearest.is_dir():
        raise ValueError(f"Expected a directory. Received: {nearest}, a file, for {path}")


def check_directory(directory):
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
