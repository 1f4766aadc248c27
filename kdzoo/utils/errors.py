"""Errors that name the remedy and the file: unknown names, and what a library said in a line."""

import difflib

from kdzoo.utils.arguments import shown

_LONGEST = 256  # Characters of a name that others are compared with.
_NEAR = 0.6  # A share of letters in common from which a name is suggested, as in difflib.


class UnknownNameError(ValueError):
    """A name that is not known; `unknown_name` makes it."""


def unknown_name(kind, name, known, examples=None):
    """Returns the error for a name that is not known, with the nearest one that is.

    Args:
        kind: What the name stands for, e.g. `"model"`.
        name: The name that was asked for.
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
        shared = _words(candidate) & _words(text)
        pairs = enumerate(zip(candidate, text, strict=False))
        start = next((position for position, (ours, theirs) in pairs if ours != theirs), len(text))
        return ratio, candidate.startswith(text), len(shared), start

    def is_near(candidate):
        if len(text) > _LONGEST:  # Comparing takes time with the lengths.
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
    return UnknownNameError(f"Unknown {kind}: {shown(name)}. {remedy}")


def check_choice(kind, name, known):
    """Raises `UnknownNameError` unless a name is one of those that are known.

    Args:
        kind: What the name stands for, e.g. `"average"`.
        name: What was given.
        known: The names there are.

    Example:

    >>> check_choice("average", "logit", ("logits", "probabilities"))
    Traceback (most recent call last):
    kdzoo.utils.errors.UnknownNameError: Unknown average: 'logit'. Did you mean 'logits'?
    """
    if not isinstance(name, str) or name not in known:
        raise unknown_name(kind, name, known)


def naming(path, error):
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


def _words(name):
    """The parts of a name such as `"separable_050/cifar10"`, a set."""
    return set(name.replace("/", "_").split("_"))


def first_line(error):
    """Returns the first line of an error's message, or the name of its class if it has none."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
