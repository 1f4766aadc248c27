"""One .npy file, read without trust: header, size and hash are checked before it is an array.

`numpy.load` reserves the memory that a header asks for before it looks at the file, and evaluates
the header as Python source, which fails in as many ways as Python has. Here the header must be what
`numpy.save` writes, and the file as long as its array needs.
"""

import hashlib
import math
import os
import pathlib
import re
from collections.abc import Callable

import numpy as np

from kdzoo.utils import open_regular

REMEDY = "write the directory again with `kdzoo data export NAME DIR`"

_MAGIC = b"\x93NUMPY"
_ARCHIVE = b"PK\x03\x04"
_LENGTHS = {1: 2, 2: 4, 3: 4}  # Bytes of the header's length, by the format's version.
_LONGEST_HEADER = 1 << 12  # Bytes; NumPy needs 128 for an array of four dimensions.
_HEADER = re.compile(
    r"\{'descr': '([<>|=][biuf][1-9]\d?)', 'fortran_order': (True|False), "
    r"'shape': \(((?:\d{1,18}, ?)*(?:\d{1,18})?)\),? *\} *\n?",
    re.ASCII,
)


def read_array(
    path: pathlib.Path,
    shape: list[int],
    is_wanted: Callable[[np.dtype], None],
    sha256: str | None = None,
) -> np.ndarray:
    """Returns the array of a .npy file of numbers.

    Args:
        path: The file, a `pathlib.Path`.
        shape: The shape that it must have, a list.
        is_wanted: Function of a NumPy type that raises `ValueError` for those that are refused.
        sha256: The file's SHA-256 in hexadecimal; None where it is not known.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no regular file, holds something else, or its size, shape or hash is
            another. Nothing larger than the file is allocated.
    """
    with open_regular(path) as file:
        try:
            array, found = _read(file, shape, is_wanted)
        except (ValueError, OSError, MemoryError) as error:
            raise damaged(path, error or "it does not fit into memory") from error
    if sha256 not in (None, found):
        raise damaged(path, "its SHA-256 is another than that in the metadata")
    return array


def damaged(path: pathlib.Path, reason: str | BaseException) -> ValueError:
    """Returns the `ValueError` for a file of an exported data set.

    Args:
        path: The file.
        reason: What is wrong with it, a sentence or an error.
    """
    reason = str(reason).split(". ")[0].rstrip(".").replace(os.linesep, " ")
    return ValueError(
        f"The file {str(path)!r} is damaged or was not written by kdzoo ({reason}); {REMEDY}."
    )


def _read(file, shape, is_wanted):
    """Returns the array of an open file and the SHA-256 of the bytes that it was made of."""
    start, header = _read_header(file)
    match = _HEADER.fullmatch(header)
    if match is None:
        raise ValueError("its header is none that NumPy writes")
    dtype = np.dtype(match[1])
    found = [int(size) for size in match[3].replace(",", " ").split()]
    is_wanted(dtype)
    if found != shape:
        raise ValueError(f"its shape is {tuple(found)} instead of {tuple(shape)}")
    needed, there = math.prod(found) * dtype.itemsize, os.fstat(file.fileno()).st_size - len(start)
    if needed != there:
        raise ValueError(f"its array has {there:,} bytes instead of {needed:,}")
    content = np.empty(needed, "uint8")
    if file.readinto(content) != needed or file.read(1):
        raise ValueError("it was written to while it was read")
    sha256 = hashlib.sha256(start)
    sha256.update(content)
    array = content.view(dtype).reshape(found, order="F" if match[2] == "True" else "C")
    return array, sha256.hexdigest()


def _read_header(file):
    """Returns the bytes before the array, and the text among them that describes it."""
    start = file.read(len(_MAGIC) + 2)
    if start.startswith(_ARCHIVE):
        raise ValueError("it holds an archive instead of an array")
    length = _LENGTHS.get(start[-2]) if len(start) == len(_MAGIC) + 2 else None
    if length is None or not start.startswith(_MAGIC):
        raise ValueError("it is empty, cut off or no .npy file")
    size = file.read(length)
    text = file.read(min(int.from_bytes(size, "little"), _LONGEST_HEADER))
    if len(size) < length or len(text) != int.from_bytes(size, "little"):
        raise ValueError("its header is cut off or too long")
    return start + size + text, text.decode("latin-1")
