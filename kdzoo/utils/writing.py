"""Whole files: written beside their place, then renamed; and a directory for one process."""

import contextlib
import os
import pathlib
import shutil
import tempfile

from kdzoo.utils.arguments import as_path, check_parents, checked_directory


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


def _flush(path):
    """Writes a file, or every file of a directory, through to the disk."""
    for each in [path, *path.rglob("*")] if path.is_dir() else [path]:
        if each.is_file():
            with open(each, "rb+") as file:
                os.fsync(file.fileno())
