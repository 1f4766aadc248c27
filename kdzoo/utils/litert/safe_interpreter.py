"""LiteRT files, opened in one way by all rooms: whole, known to run, and with labels that fit."""

import dataclasses
import importlib.util
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any, TypeVar

from kdzoo.utils.arguments import check_choice, check_path
from kdzoo.utils.errors import first_line
from kdzoo.utils.hashed_json import digest
from kdzoo.utils.litert import trial_process
from kdzoo.utils.litert.integers_inside import Range, ranges_inside, signatures_inside
from kdzoo.utils.litert.label_archive import read_associated
from kdzoo.utils.quiet_stderr import without_chatter
from kdzoo.utils.types import PathLike
from kdzoo.utils.untrusted_files import read_bytes

CHATTER = re.compile(
    rb"[IW]\d{4} |INFO: |fully_quantize: |To enable the following instructions|"
    rb"WARNING: All log messages before absl"
)
"""What the converter and the interpreter say in passing, of standard error."""

_MOST = 1 << 31  # Bytes: what a flatbuffer can have.
_LEAST_MEMORY = 1 << 30  # For a network of few weights on large images.
_MEMORY = 64  # Times the bytes of the file.
Found = TypeVar("Found")
_tried: set[str] = set()  # Hashes of files that are known to run.


@dataclasses.dataclass(frozen=True)
class OpenedFile:
    """A LiteRT file that runs.

    Attributes:
        path: Its path.
        interpreter: LiteRT's interpreter, its tensors allocated.
        labels: List of class names, or None.
        metadata: The fields of its `metadata.json`, of any JSON type.
        is_ours: Whether kdzoo wrote it, with its hash.
        signatures: The names of its signatures.
        subgraphs: Which subgraph each of them runs; empty where LiteRT cannot read it.
        ranges: What `ranges_inside` finds.
        network: The bytes of the network.
    """

    path: PathLike
    interpreter: Any
    labels: list[str] | None
    metadata: dict[str, Any]
    is_ours: bool
    signatures: tuple[str, ...]
    subgraphs: dict[str, int]
    ranges: list[dict[int, Range]]
    network: bytes

    def signature(self, name: str | None) -> str | None:
        """Returns the signature that runs; None for the first network.

        Args:
            name: One of `signatures`; None for the first of those in `metadata.json`, if any.

        Raises:
            ValueError: If there is no such signature.
        """
        if name is not None:
            return check_choice(f"signature of {str(self.path)!r}", name, self.signatures)
        listed = self.metadata.get("signatures")
        first = listed[0] if isinstance(listed, list) and listed else None
        return first if isinstance(first, str) and first in self.signatures else None


def open_litert(path: PathLike, threads: int | None = None, is_trusted: bool = False) -> OpenedFile:
    """Returns an opened LiteRT file.

    What this process has not opened yet runs once in a process of its own first, because a damaged
    file may end the one that runs it. There it may take 1 GB, or 64 times its size; one that you
    trust and that needs more opens with LiteRT's own `Interpreter`.

    Args:
        path: The file.
        threads: Threads of the interpreter; None leaves the choice to LiteRT.
        is_trusted: Whether this process has just made the file, so that it need not be tried.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no regular file, damaged, or does not run.
    """
    path = check_path("path", path)
    try:
        content = read_bytes(path, min(_MOST, os.path.getsize(path)))
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(
            f"Expected a LiteRT file. Received: path={str(path)!r}, not a file."
        ) from None
    behind = read_associated(path, content)
    content, sha256 = content[: behind.end], behind.sha256
    found = digest(content)
    if sha256 not in (None, found):  # Files of earlier versions, and of others, have none.
        raise ValueError(
            f"Expected {path} as it was written. Received: one whose network was altered, by its "
            "own SHA-256; export it or fetch it again."
        )
    if not is_trusted and found not in _tried:
        _try(path, content, "any" if sha256 else "finite")
    try:
        with without_chatter(CHATTER):
            interpreter = trial_process.litert()[0](model_content=content, num_threads=threads)
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError, MemoryError) as error:
        raise _refused(path, f"which the interpreter refused: {first_line(error)}") from error
    _tried.add(found)
    return OpenedFile(
        path=path,
        interpreter=interpreter,
        labels=behind.labels,
        metadata=behind.metadata,
        is_ours=sha256 is not None,
        signatures=tuple(interpreter.get_signature_list()),
        subgraphs=read_tables(path, content, signatures_inside),
        ranges=read_tables(path, content, ranges_inside),
        network=content,
    )


def read_tables(path: PathLike, content: bytes, read: Callable[[bytes], Found]) -> Found:
    """Returns what is read from the tables of a network that the interpreter has taken.

    Args:
        path: The file's path, for errors.
        content: The bytes of the network.
        read: What reads them.

    Raises:
        ValueError: If the tables are damaged, in places where the interpreter does not look.
    """
    try:
        return read(content)
    except Exception as error:  # What is damaged leads a reader of flatbuffers to any exception.
        reason = f"whose tables are damaged ({first_line(error)}); export it or fetch it again."
        raise _refused(path, reason) from error


def _try(path, content, weights):
    """Raises `ValueError` unless a file runs in a process of its own.

    Args:
        path: The file's path, for errors.
        content: The bytes of its network.
        weights: "finite" if NaN and infinity among them count as damage, as in files without a
            hash; else "any".
    """
    if content[4:8] != b"TFL3":
        raise _refused(path, "which the interpreter refused: it is no flatbuffer of LiteRT")
    if importlib.util.find_spec("ai_edge_litert") is None:
        raise ImportError(
            f"Expected LiteRT, which runs {str(path)!r}; install it with `pip install "
            "ai-edge-litert`."
        )
    if getattr(sys, "frozen", False) or not sys.executable:  # There is no Python to run it in.
        return
    allowed = max(_LEAST_MEMORY, _MEMORY * len(content))
    options = ["-P", "-W", "ignore"]
    command = [sys.executable, *options, trial_process.__file__, str(allowed), weights]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    try:
        done = subprocess.run(
            command,
            input=content,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            timeout=600,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise _refused(path, "which does not come to an end") from error
    if done.returncode == 0:
        return
    said = done.stdout.decode("utf-8", "replace").strip().partition("\n")[0][:300]
    if done.returncode == trial_process.MEMORY:
        said = (
            f"{said.rstrip('.')}, perhaps since it needs more than {allowed >> 20:,} MB; if you "
            "trust it, open it with LiteRT's own Interpreter"
        )
    elif done.returncode != trial_process.REFUSED:
        said = f"it ended the process that tried it ({_ending(done.returncode)})"
    raise _refused(path, f"which the interpreter refused: {said}")


def _ending(status):
    """The name of the signal that ended a process, or its exit status in words."""
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"exit status {status}"


def _refused(path, reason):
    return ValueError(
        f"Expected a LiteRT file of built-in operators. Received: path={str(path)!r}, {reason}"
    )
