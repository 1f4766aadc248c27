"""Files whose hash and size are known: read whole, and only if they have that hash and size."""

import os
import pathlib

from kdzoo.utils import check_regular, read_bytes
from kdzoo.utils.hashed_json import digest
from kdzoo.utils.types import PathLike


def check_within(path: pathlib.Path, directory: pathlib.Path) -> None:
    """Raises `ValueError` if a path leads out of a directory once links are followed."""
    if directory.resolve() not in path.resolve().parents:
        raise ValueError(
            f"Expected {path.name!r} to lie in {directory}. Received: a link to a file elsewhere."
        )


def read_checked(path: PathLike, sha256: str, size: int) -> bytes:
    """Returns the content of a file that must have a known hash and size.

    Args:
        path: The file.
        sha256: Its hash in hexadecimal.
        size: Its number of bytes.

    Raises:
        FileNotFoundError: If the file is missing.
        ValueError: If it is a link out of its directory, or has another size or hash.
    """
    path = pathlib.Path(path)
    try:
        check_regular(path)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"Expected the file {path.name!r} in {path.parent}. Received: none there; fetch it "
            "again."
        ) from None
    check_within(path, path.parent)
    found = os.path.getsize(path)
    if found != size:
        reason = "truncated" if found < size else "another file or altered"
        raise ValueError(
            f"Expected {path} to have {size:,} bytes. Received: {found:,} bytes, the file "
            f"is {reason}; fetch it again."
        )
    content = read_bytes(path, size)
    if digest(content) != sha256:
        raise ValueError(
            f"Expected {path} to have the SHA-256 {sha256[:12]}... Received: another, the "
            "file was altered; fetch it again."
        )
    return content
