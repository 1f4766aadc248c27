"""Standard error without what C++ libraries write there unasked."""

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator


@contextlib.contextmanager
def without_chatter(known: re.Pattern[bytes]) -> Iterator[None]:
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
