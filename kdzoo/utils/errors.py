"""Errors that name the remedy and the file: unknown names, and what a library said in a line."""

import difflib
import os
import reprlib
from collections.abc import Iterable
from typing import Any

_LONGEST_NAME = 256  # Characters of a name that others are compared with.
_NEAR = 0.6  # The fraction of letters in common from which difflib, too, calls names close.
_LONGEST = 80  # Characters of what was given that an error shows.
_LONGEST_LINE = 500  # Characters of what a library said that an error repeats.
_SHORTENED = reprlib.Repr()
_SHORTENED.maxstring = _SHORTENED.maxother = _SHORTENED.maxlong = _LONGEST


def shown(value: Any) -> str:
    """Returns a value as errors show it: in one line, and short.

    Args:
        value: Anything.

    Example:

    >>> shown("text"), shown(list(range(1000)))
    ("'text'", '[0, 1, 2, 3, 4, 5, ...]')
    """
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        dtype = getattr(value.dtype, "name", value.dtype)
        return f"an array of {dtype} of shape {tuple(value.shape)}"
    text = _SHORTENED.repr(value).replace("\n", " ")
    return text if len(text) <= 2 * _LONGEST else f"{text[: 2 * _LONGEST]}..."


class UnknownNameError(ValueError):
    """A name that is not known; `unknown_name` makes the error."""


def unknown_name(
    what: str, name: Any, known: Iterable[str], examples: Iterable[str] | None = None
) -> UnknownNameError:
    """Returns the error for a name that is not known, with the nearest one that is.

    Args:
        what: What the name stands for, e.g. `"model"`.
        name: The name that is not known.
        known: Iterable of the names there are.
        examples: The names to list where none is near, if `known` are too many; None lists all.

    Returns:
        An `UnknownNameError`, a `ValueError`, to be raised by the caller.

    Example:

    >>> unknown_name("model", "separable_05", ["mlp_800", "separable_050"])
    UnknownNameError("Unknown model: 'separable_05'. Did you mean 'separable_050'?")
    """
    known, text = sorted(known), str(name).casefold()

    def likeness(candidate):
        candidate = candidate.casefold()
        ratio = difflib.SequenceMatcher(None, candidate, text).ratio()
        common = _words(candidate) & _words(text)
        pairs = enumerate(zip(candidate, text, strict=False))
        start = next((position for position, (ours, theirs) in pairs if ours != theirs), len(text))
        return ratio, candidate.startswith(text), len(common), start

    def is_near(candidate):
        if len(text) > _LONGEST_NAME:  # Comparing takes time with the lengths.
            return False
        ratio, begins, *_ = likeness(candidate)
        return ratio >= _NEAR or (begins and len(text) > 2)

    nearest = list(filter(is_near, known))
    remedy = f"Choose from: {', '.join(known)}."
    if not known:
        remedy = "There is none yet."
    elif examples is not None:
        remedy = f"There are {len(known)}, among them: {', '.join(examples)}."
    if nearest:
        remedy = f"Did you mean {max(nearest, key=likeness)!r}?"
    return UnknownNameError(f"Unknown {what}: {shown(name)}. {remedy}")


def naming(path: os.PathLike[str] | str, error: ValueError) -> ValueError:
    """Returns an error about what a file holds that says, too, which file it is.

    Args:
        path: The file.
        error: A `ValueError` of the form "Expected ... Received: ...".

    Returns:
        A `ValueError`; the same one if it names the file already.

    Example:

    >>> naming("net/config.json", ValueError("Expected layers. Received: 'x', a Lambda"))
    ValueError("Expected layers. Received: net/config.json, with 'x', a Lambda")
    """
    said = str(error)
    if str(path) in said:
        return error
    before, received, after = said.partition("Received: ")
    if not received:
        return ValueError(f"Expected what kdzoo writes in {path}. Received: {said}")
    return ValueError(f"{before}{received}{path}, with {after}")


def _words(name: str) -> set[str]:
    """The parts of a name such as `"separable_050/cifar10"`, a set."""
    return set(name.replace("/", "_").split("_"))


def first_line(error: BaseException) -> str:
    """Returns the first line of an error's message, or the name of its class if it has none.

    Of a line that repeats what stood in a file, however long, the beginning is enough.
    """
    lines = str(error).strip().splitlines()
    if not lines:
        return type(error).__name__
    return lines[0] if len(lines[0]) <= _LONGEST_LINE else lines[0][:_LONGEST_LINE] + "..."
