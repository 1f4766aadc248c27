"""Directories that one process at a time writes: run directories, and hidden ones for new files.

Files are written in a hidden directory before they take their place. A process that is killed
leaves it behind. Each is locked while the process that made it lives, so that a later process can
tell which are left over, and removes those alone. Where the system or the file system has no locks,
nothing is ever removed.
"""

import contextlib
import os
import pathlib
import re
import shutil
import tempfile
from collections.abc import Iterator

from kdzoo.utils.arguments import check_directory
from kdzoo.utils.full_disk_errors import naming_full_disk
from kdzoo.utils.types import PathLike

try:
    import fcntl
except ImportError:  # Windows.
    fcntl = None  # type: ignore[assignment]

_RANDOM = "[a-z0-9_]{8}"  # What `tempfile` appends to a name.
_CONTENT = re.compile(r"(new|old)(\..*)?", re.DOTALL)
_TRIES = 100


@contextlib.contextmanager
def one_process(directory: PathLike) -> Iterator[None]:
    """Keeps a directory to this process while the block runs, where the system has such locks.

    A process that is killed lets go of it; what it left of files it was writing
    there, or in a directory within, is removed.

    Args:
        directory: The directory; made if missing.

    Raises:
        ValueError: If another process has it, or it is a file.
    """
    directory = check_directory(directory)
    with naming_full_disk(directory):
        directory.mkdir(parents=True, exist_ok=True)
    try:
        lock = lock_directory(directory)
    except BlockingIOError as error:
        raise ValueError(
            f"Expected {directory} to be free. Received: one in which another process works; "
            "wait for it, stop it, or choose another directory."
        ) from error
    try:
        # The stages of a run have directories within its own.
        for place in (directory, *(path for path in directory.iterdir() if path.is_dir())):
            sweep(place)
        yield
    finally:
        if lock is not None:
            os.close(lock)


@contextlib.contextmanager
def hidden_directory(directory: PathLike, name: str) -> Iterator[pathlib.Path]:
    """Makes a hidden directory for the time of a block, and removes what killed ones have left.

    Args:
        directory: The directory in which it is made, which exists.
        name: What it is for; it is called `.NAME.` and eight random characters.

    Yields:
        Its path. Entries are called "new" or "old", with or without a suffix.
    """
    sweep(directory, name)
    hidden, lock = _make(directory, name)
    try:
        yield hidden
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def sweep(directory: PathLike, name: str | None = None) -> None:
    """Removes the hidden directories that `hidden_directory` made and no living process owns.

    Args:
        directory: Where to look, a path; it need not exist.
        name: What they were for; everything when None, except those that are empty.
    """
    if fcntl is None:
        return
    kept = re.compile(rf"\.{'.+' if name is None else re.escape(name)}\.{_RANDOM}", re.DOTALL)
    try:
        found = [entry.name for entry in os.scandir(directory) if kept.fullmatch(entry.name)]
    except OSError:  # No such directory, or one that may not be read: nothing to remove.
        return
    for entry in found:
        # Only the name says whose an empty one is, and other programs may use such names.
        _remove_if_left(pathlib.Path(directory, entry), may_be_empty=name is not None)


def lock_directory(directory: PathLike) -> int | None:
    """Returns an open, locked descriptor of a directory, or None where there are no locks.

    Args:
        directory: The directory, which exists.

    Raises:
        BlockingIOError: If another process has locked it.
    """
    if fcntl is None:
        return None
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise
    except OSError:  # A file system without locks.
        os.close(descriptor)
        return None
    return descriptor


def _make(directory, name):
    """A new directory and its lock; None in place of the lock where there are none."""
    for _ in range(_TRIES):
        hidden = pathlib.Path(tempfile.mkdtemp(prefix=f".{name}.", dir=directory))
        try:
            lock = lock_directory(hidden)
        except (BlockingIOError, FileNotFoundError):
            continue
        # Between the two lines a process that sweeps may have taken it for a leftover.
        if lock is None or _is_locked(hidden, lock):
            return hidden, lock
        os.close(lock)
    raise OSError(f"Expected to write into {directory}. Received: one that is emptied meanwhile")


def _is_locked(hidden, lock):
    """Whether a lock is that of the directory which is at a path now."""
    try:
        return os.path.samestat(os.fstat(lock), os.stat(hidden))
    except OSError:  # It is gone.
        return False


def _remove_if_left(hidden, may_be_empty):
    """Removes a hidden directory that holds nothing but what kdzoo writes and is not locked."""
    try:
        content = os.listdir(hidden)
        if hidden.is_symlink() or not all(map(_CONTENT.fullmatch, content)):
            return
        if not content and not may_be_empty:
            return
        lock = lock_directory(hidden)
    except OSError:  # Somebody has it, or has removed it; or it is none of ours.
        return
    if lock is not None:
        shutil.rmtree(hidden, ignore_errors=True)
        os.close(lock)
