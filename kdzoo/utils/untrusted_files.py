"""Reading of files that may be damaged, or come from strangers.

A path may lead to a pipe, which never ends, or to a file that says it is larger than memory: files
are opened here if they are regular ones, and read up to a size that the caller names.
"""

import errno
import hashlib
import io
import json
import os
import pathlib
import stat
from typing import Any

from kdzoo.utils.errors import first_line
from kdzoo.utils.types import PathLike

_BINARY = getattr(os, "O_BINARY", 0)  # Of Windows.

_NOT_OPENED = (errno.ENXIO, getattr(errno, "EOPNOTSUPP", None))  # Of sockets.

_SMALL = 64 << 20  # Bytes of a file whose holes do no harm.
_HOLES = 64  # Times what is stored that a file may say to have.

MOST_JSON = 16 << 20
"""Bytes of the largest JSON file that is read, far above what kdzoo writes."""
MOST_VALUES = 600_000
"""Values in any JSON file that is read; of two bytes each, they take 100 MB in memory."""
_BYTES_A_VALUE = 16  # Of more than those, such as numbers of many digits.


def open_regular(path: PathLike) -> io.BufferedReader:
    """Opens a regular file for reading, without ever waiting for one that is none.

    Args:
        path: The file; a link to a regular file is one.

    Returns:
        A binary file.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is a directory, a pipe, a socket or a device, where the error says which,
            or a file that is large and hardly anything but holes.
    """
    # A pipe without a writer would keep the process waiting.
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | _BINARY)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"Expected {path} to be a regular file. Received: none there"
        ) from error
    except NotADirectoryError as error:
        raise FileNotFoundError(
            f"Expected {path} to be a regular file. Received: none there, below a file"
        ) from error
    except OSError as error:
        if error.errno not in _NOT_OPENED:
            raise
        raise ValueError(
            f"Expected {path} to be a regular file. Received: {_in_words(os.stat(path).st_mode)}"
        ) from error
    try:
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode):
            reason = _in_words(state.st_mode)
            raise ValueError(f"Expected {path} to be a regular file. Received: {reason}")
        _check_holes(path, descriptor, state)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def check_regular(path: PathLike) -> None:
    """Raises unless there is a regular file, which a library then opens by its path.

    Args:
        path: The file; a link to a regular file is one.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is no regular file, or one that is large and hardly anything but holes.
    """
    open_regular(path).close()


def read_bytes(path: PathLike, most: int) -> bytes:
    """Returns the content of a regular file of at most so many bytes.

    Args:
        path: The file.
        most: The largest size that is read.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is no regular file, or larger.
    """
    with open_regular(path) as file:
        content = file.read(most + 1)  # A file may grow, and some say that they have no bytes.
    if len(content) > most:
        raise ValueError(f"Expected {path} to have at most {most:,} bytes. Received: more")
    return content


def digest_of_file(path: PathLike) -> str:
    """Returns the SHA-256 of a regular file, in hexadecimal."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_object(path: PathLike, what: str, most: int = MOST_JSON) -> dict[str, Any]:
    """Returns the content of a JSON file, a dictionary.

    Args:
        path: The file.
        what: What it is expected to be, e.g. `"a manifest of pretrained models"`.
        most: The largest size that is read, in bytes.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is none; the error says what it is.
    """
    content = read_bytes(pathlib.Path(path), most)
    try:
        content = json.loads(_checked_text(content))
        reason = f"a JSON file of a {type(content).__name__}, not of fields with names"
    except UnicodeDecodeError:
        reason = "a file that is no text"
    except json.JSONDecodeError as error:
        reason = f"a file that is empty, cut off or no JSON ({error})"
    except ValueError as error:  # Too many values, or an integer of too many digits.
        reason = first_line(error)
    except RecursionError:
        reason = "lists within lists without end"
    else:
        if isinstance(content, dict):
            return content
    raise ValueError(f"Expected {path} to be {what}. Received: {reason}")


def _checked_text(content):
    """Returns the text of JSON whose values, up to a hundred bytes each, fit into memory."""
    most = max(MOST_VALUES, len(content) // _BYTES_A_VALUE)
    if sum(map(content.count, (b",", b"[", b"{"))) > most:
        raise ValueError(f"more than {most:,} values")
    return content.decode("utf-8")


def _check_holes(path, descriptor, state):
    """Raises `ValueError` for a file that takes room when it is read and none on the disk."""
    size = state.st_size
    is_stored = getattr(state, "st_blocks", size) * 512 >= size // _HOLES
    if size <= _SMALL or is_stored or not hasattr(os, "SEEK_DATA"):
        return
    # A file system may not know yet what it will store, but it knows what is a hole.
    stored = at = 0
    try:
        while stored < size // _HOLES:
            at = os.lseek(descriptor, at, os.SEEK_DATA)
            end = os.lseek(descriptor, at, os.SEEK_HOLE)
            stored, at = stored + end - at, end
    except OSError as error:
        if error.errno != errno.ENXIO:  # A file system that does not know of holes.
            return
        # There is nothing but holes from there on.
        raise ValueError(
            f"Expected {path} to be a file that was written. Received: one of {size:,} bytes with "
            f"holes in the place of all but {stored:,}"
        ) from None
    finally:
        os.lseek(descriptor, 0, os.SEEK_SET)


def _in_words(mode: int) -> str:
    """What a file that is no regular one is, in words."""
    words = {
        stat.S_IFDIR: "a directory",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    return words.get(stat.S_IFMT(mode), "something else")
