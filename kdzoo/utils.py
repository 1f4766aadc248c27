"""Small tools that every part may use: names, whole files, and standard error without chatter."""

import contextlib
import difflib
import hashlib
import json
import numbers
import os
import pathlib
import shutil
import sys
import tempfile

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
    return UnknownNameError(f"Unknown {kind}: {name!r}. {remedy}")


def _words(name):
    """The parts of a name such as `"separable_050/cifar10"`, a set."""
    return set(name.replace("/", "_").split("_"))


def first_line(error):
    """Returns the first line of an error's message, or the name of its class if it has none."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


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


def digest_of_file(path):
    """Returns the SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_object(path, what):
    """Returns the content of a JSON file, a dictionary.

    Args:
        path: The file, a `pathlib.Path`.
        what: What it is expected to be, e.g. `"a manifest of pretrained models"`.

    Raises:
        ValueError: If it is none; the error says what it is.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        reason = f"a JSON file of a {type(content).__name__}, not of fields with names"
    except UnicodeDecodeError:
        reason = "a file that is no text"
    except ValueError as error:
        reason = f"a file that is empty, cut off or no JSON ({error})"
    except RecursionError:
        reason = "lists within lists without end"
    else:
        if isinstance(content, dict):
            return content
    raise ValueError(f"Expected {path} to be {what}. Received: {reason}")


@contextlib.contextmanager
def atomic_path(path):
    """Yields a temporary path that replaces `path` if the block succeeds, and vanishes if it fails.

    The temporary file or directory lies beside `path`, so that the replacement is one rename: a
    reader, or a process that is killed, finds the old content or the new, never a part. A directory
    replaces only a missing or an empty directory, because the file system renames no other way.

    Args:
        path: Where the finished file or directory goes. Its parent directory is made if missing.

    Yields:
        A `pathlib.Path` with the suffix of `path`, which does not exist yet.

    Raises:
        ValueError: If it is no path, or there is a file where one of its directories belongs.

    Example:

    ```python
    with atomic_path("model.tflite") as temporary:
        temporary.write_bytes(content)
    ```
    """
    path = as_path("path", path)
    check_parents(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    room = pathlib.Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        temporary = room / f"new{''.join(path.suffixes)}"
        yield temporary
        _flush(temporary)
        os.replace(temporary, path)
    finally:
        shutil.rmtree(room, ignore_errors=True)


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


@contextlib.contextmanager
def one_process(directory):
    """Keeps a directory to this process while the block runs, where the system has such locks.

    A process that is killed lets go of it.

    Args:
        directory: The directory; made if missing.

    Raises:
        ValueError: If another process has it, or it is a file.
    """
    directory = checked_directory(directory)
    directory.mkdir(parents=True, exist_ok=True)
    try:
        import fcntl
    except ImportError:  # Windows.
        yield
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(
                f"Expected {directory} to be free. Received: one in which another process works; "
                "wait for it, stop it, or choose another directory."
            ) from error
        except OSError:  # A file system without locks.
            pass
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def without_chatter(known):
    """Holds back standard error inside the block and hands on, after it, all but known chatter.

    TensorFlow and LiteRT write from C++, past Python's logging and before any log level counts, so
    the file descriptor itself is held. A block that fails is handed on in the same way.

    Args:
        known: Compiled pattern of bytes; lines that it matches from their beginning are dropped.
    """
    with tempfile.TemporaryFile() as held:
        sys.stderr.flush()
        try:
            descriptor = os.dup(2)
        except OSError:  # A process without standard error.
            yield
            return
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(descriptor, 2)
            os.close(descriptor)
            held.seek(0)
            for line in held:
                if not known.match(line):
                    os.write(2, line)


def _flush(path):
    """Writes a file, or every file of a directory, through to the disk."""
    for each in [path, *path.rglob("*")] if path.is_dir() else [path]:
        if each.is_file():
            with open(each, "rb+") as file:
                os.fsync(file.fileno())


def finalize_states(model):
    """Lets an adapted `Normalization` compute from the statistics that it was just given.

    `set_weights` and `assign` leave it with what it had made of those before. Other layers that
    adapt, such as `Discretization`, have what they found in their configuration and would lose it.

    Args:
        model: A `keras.Model`, or a layer.
    """
    import keras

    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.Normalization) and layer.built:
            layer.finalize_state()
