"""Checks of arguments that every part may be given."""

import numbers
import os
import pathlib


def positive_integer(name, value):
    """Returns an integer of Python or NumPy as an `int`.

    Args:
        name: What the caller calls the number.
        value: What was given.

    Raises:
        ValueError: If it is no integer, or below 1.

    Example:

    >>> positive_integer("batch_size", 2.5)
    Traceback (most recent call last):
    ValueError: Expected batch_size to be a positive integer. Received: batch_size=2.5
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 1:
        raise ValueError(f"Expected {name} to be a positive integer. Received: {name}={value!r}")
    return int(value)


def as_path(name, value):
    """Returns what somebody gave as a path as a `pathlib.Path`.

    Args:
        name: What the caller calls it.
        value: What was given.

    Raises:
        ValueError: If it is neither a string, with something in it, nor a path.

    Example:

    >>> as_path("directory", None)
    Traceback (most recent call last):
    ValueError: Expected directory to be a path. Received: directory=None
    """
    if not isinstance(value, str | os.PathLike) or value == "":
        raise ValueError(f"Expected {name} to be a path. Received: {name}={value!r}")
    return pathlib.Path(value)


def check_parents(path):
    """Raises `ValueError` if there is a file where one of the directories of a path belongs.

    Args:
        path: A `pathlib.Path`.
    """
    nearest = next((each for each in path.parents if each.exists()), None)
    if nearest is not None and not nearest.is_dir():
        raise ValueError(f"Expected a directory. Received: {nearest}, a file, for {path}")


def checked_directory(directory):
    """Returns what is to be a directory, missing or not, as a path.

    Args:
        directory: The directory.

    Raises:
        ValueError: If it is no path, or there is a file in place of it or of a directory above it.
    """
    directory = as_path("directory", directory)
    if directory.exists() and not directory.is_dir():
        raise ValueError(f"Expected a directory. Received: {directory}, a file")
    check_parents(directory)
    return directory
