"""Files written whole or not at all: beside their place first, then renamed."""

import contextlib
import os
import pathlib
import shutil
from collections.abc import Callable, Iterator

from kdzoo.utils.arguments import check_path, check_writable
from kdzoo.utils.full_disk_errors import naming_full_disk
from kdzoo.utils.process_locks import hidden_directory
from kdzoo.utils.types import PathLike


@contextlib.contextmanager
def atomic_path(
    path: PathLike, size: int | Callable[[], int] | None = None, replace: bool = False
) -> Iterator[pathlib.Path]:
    """Yields a temporary path that replaces `path` if the block succeeds, and vanishes if it fails.

    The temporary file or directory lies beside `path`, so that the replacement is one rename: a
    reader, or a process that is killed, finds the old content or the new, never a part. What a
    killed process left of writing the same path is removed.

    Args:
        path: Where the finished file or directory goes. Its parent directory is made if missing.
        size: How many bytes it will have, for the error if they have no room, or a function that
            returns it; None if not known.
        replace: Whether a directory may replace one with content, which is an error otherwise. It
            takes two renames: for a moment there is neither.

    Yields:
        A `pathlib.Path` with the suffix of `path`, which does not exist yet.

    Raises:
        ValueError: If it is no path, or there is a file where one of its directories belongs.
        PermissionError: If the directory cannot be written to.
        FullDiskError: If the disk is full or a limit is reached; the error names path
            and bytes.

    Example:

    ```python
    with atomic_path("model.tflite") as temporary:
        temporary.write_bytes(content)
    ```
    """
    path = check_path("path", path)
    check_writable(path)
    with naming_full_disk(path, size):
        path.parent.mkdir(parents=True, exist_ok=True)
        with hidden_directory(path.parent, path.name) as hidden:
            temporary = hidden / f"new{''.join(path.suffixes)}"
            yield temporary
            _flush(temporary)
            if replace and path.is_dir() and not path.is_symlink():
                os.replace(path, hidden / "old")
            os.replace(temporary, path)


def write_bytes(path: PathLike, content: bytes | memoryview) -> None:
    """Writes a file whole or not at all.

    Args:
        path: Where it goes.
        content: Its bytes.

    Raises:
        ValueError: If it is no path, or there is a file where one of its directories belongs.
        FullDiskError: If the disk is full or a limit is reached; the error names path and bytes.
    """
    with atomic_path(path, len(content)) as temporary:
        temporary.write_bytes(content)


def write_text(path: PathLike, text: str) -> None:
    """Writes a text file in UTF-8 whole or not at all, its lines ending as they are.

    Args:
        path: Where it goes.
        text: Its content.
    """
    write_bytes(path, text.encode("utf-8"))


def copy_file(source: PathLike, path: PathLike) -> None:
    """Writes a copy of a file whole or not at all.

    Args:
        source: The file.
        path: Where the copy goes.
    """
    with atomic_path(path, lambda: os.path.getsize(source)) as temporary:
        shutil.copyfile(source, temporary)


def remove_directory(path: pathlib.Path) -> None:
    """Removes a directory, or what stands in its place, so that no reader finds a part of it.

    Args:
        path: What to remove.
    """
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    try:
        with hidden_directory(path.parent, path.name) as hidden:
            os.replace(path, hidden / "old")
    except OSError:  # On a disk so full that there is no room for a directory.
        shutil.rmtree(path)


def _flush(path):
    """Writes a file, or every file of a directory, through to the disk."""
    for entry in [path, *path.rglob("*")] if path.is_dir() else [path]:
        if entry.is_file():
            with open(entry, "rb+") as file:
                os.fsync(file.fileno())
