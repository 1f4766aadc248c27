"""A disk that is full, in a sentence that names the file: libraries say it in many ways."""

import contextlib
import errno
import os
from collections.abc import Callable, Iterator

# Errors of the system that say that a file has no room, in words.
_REASONS = {
    errno.ENOSPC: "a full disk",
    errno.EFBIG: "a limit on the size of files",
    getattr(errno, "EDQUOT", errno.ENOSPC): "a quota that is used up",
}


class FullDiskError(OSError):
    """A file that had no room, in one sentence; `errno` is the system's number of the error."""


@contextlib.contextmanager
def naming_full_disk(
    path: os.PathLike[str] | str, size: int | Callable[[], int] | None = None
) -> Iterator[None]:
    """Turns the error of a disk that is full, within the block, into one that names the file.

    Libraries in C++ raise errors of their own for it, or others on the way out; they are known by
    their text.

    Args:
        path: The file or directory that was to be written.
        size: Its number of bytes, or a function that returns it, called only for an error; None if
            not known.

    Raises:
        FullDiskError: If there was no room.
    """
    try:
        yield
    except FullDiskError:  # It names the file already.
        raise
    except Exception as error:
        number = _number_of(error)
        if number is None:
            raise
        size = size() if callable(size) else size
        needed = f", {size:,} bytes" if size else ""
        sentence = FullDiskError(
            f"Expected room for {path}{needed}. Received: {_REASONS[number]}; free some, or choose "
            "another place."
        )
        # Not as an argument, by which Python would put a number before the sentence.
        sentence.errno = number
        raise sentence from error


def _number_of(error: BaseException | None) -> int | None:
    """The number of the system's error for a full disk that lies behind an error; None if none."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, OSError) and error.errno in _REASONS:
            return error.errno
        text = str(error)
        for number in _REASONS:
            if os.strerror(number) in text:
                return number
        error = error.__cause__ or error.__context__
    return None
