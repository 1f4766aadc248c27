"""ArrayRecord files of a record, read as far as they are what the index says of them."""

import os
import pathlib
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, BinaryIO

import numpy as np

from kdzoo.teacher_cache.record_layout import Field, record_type
from kdzoo.utils import atomic_path, check_regular, digest_of_file, open_regular

_SHARD_BYTES = 64 << 20
_BLOCK, _BLOCK_HEADER, _CHUNK_HEADER = 1 << 16, 24, 40  # Of Riegeli's format, in bytes.
SMALL_RECORD = 1 << 10
"""Records of at most so many bytes share blocks in their files, and are read a view at a time."""

_REMEDY = "call `record_teacher` again, which records what it held anew."


def array_record() -> ModuleType:
    """Returns the module of ArrayRecord that reads and writes files."""
    from array_record.python import array_record_module

    return array_record_module


def samples_a_shard(fields: Sequence[Field]) -> int:
    """Returns how many samples go into a file of about 64 MB.

    Args:
        fields: What a record consists of.
    """
    return max(1, _SHARD_BYTES // record_type(fields).itemsize)


def write_shard(path: pathlib.Path, records: np.ndarray) -> None:
    """Writes records into a file, whole or not at all.

    Args:
        path: The file's path.
        records: The records, (samples,).
    """
    group = 1 if records.itemsize > SMALL_RECORD else 1024
    with atomic_path(path, records.nbytes) as temporary:
        writer = array_record().ArrayRecordWriter(str(temporary), f"group_size:{group}")
        for record in records:
            writer.write(record.tobytes())
        writer.close()


def check_shard(path: pathlib.Path, shard: Mapping[str, Any], record: np.dtype) -> None:
    """Raises unless a file is the one that the index names and holds what it says.

    Args:
        path: The file's path.
        shard: What the index says of it: "start", "stop" and "sha256".
        record: The NumPy type of a record.

    Raises:
        ValueError: If it is missing, no regular file, altered, or of other records.
    """
    if not is_whole(path, shard, record):
        raise ValueError(
            "Expected the files of a record as they were written. Received: "
            f"{path}, which is missing or altered; {_REMEDY}"
        )
    with open_regular(path) as file:
        decoded = _decoded_bytes(file)
    if decoded > _most_bytes(shard, record):
        raise _damaged(path, shard, record, f"{decoded:,} bytes")


def is_whole(path: pathlib.Path, shard: Mapping[str, Any], record: np.dtype) -> bool:
    """Returns whether a file is there and has the size and the hash that the index says.

    Args:
        path: The file's path.
        shard: What the index says of it: "start", "stop" and "sha256".
        record: The NumPy type of a record.
    """
    if not path.is_file() or path.stat().st_size > _most_bytes(shard, record):
        return False
    return digest_of_file(path) == shard["sha256"]


def read_shard(
    path: pathlib.Path,
    shard: Mapping[str, Any],
    record: np.dtype,
    places: list[int] | None = None,
    readers: dict[pathlib.Path, Any] | None = None,
) -> np.ndarray:
    """Returns records of a file as an array.

    Args:
        path: The file's path.
        shard: What the index says of it: "start" and "stop".
        record: The NumPy type of a record.
        places: The numbers of the records in the file, a list; None for all.
        readers: Dictionary in which the open files are kept, by path; None to close the file.

    Raises:
        ValueError: If it is missing, cannot be read, has other records than the index says, or a
            value that is not finite.
    """
    try:
        reader = None if readers is None else readers.get(path)
        if reader is None:
            check_regular(path)
            reader = array_record().ArrayRecordReader(str(path))
        if readers is not None:
            readers[path] = reader
        count = shard["stop"] - shard["start"]
        if reader.num_records() != count:
            raise _damaged(path, shard, record, f"{reader.num_records()} records")
        parts = reader.read_all() if places is None else reader.read(places)
        if readers is None:
            reader.close()
    except (OSError, RuntimeError, IndexError) as error:
        raise ValueError(
            f"Expected the file of a record in {path}. Received: one that was removed or altered "
            f"since it was opened ({str(error).splitlines()[0][:200]}); {_REMEDY}"
        ) from error
    if any(len(part) != record.itemsize for part in parts):
        raise _damaged(path, shard, record, "some of other sizes")
    records = np.frombuffer(b"".join(parts), record)
    for name in record.names or ():
        if record[name].base.kind == "f" and not np.isfinite(records[name]).all():
            raise ValueError(
                f"Expected finite numbers in {path}. Received: NaN or infinity in {name!r}; "
                "record into another directory."
            )
    return records


def _damaged(
    path: pathlib.Path, shard: Mapping[str, Any], record: np.dtype, found: str
) -> ValueError:
    count = shard["stop"] - shard["start"]
    return ValueError(
        f"Expected {count} records of {record.itemsize} bytes in {path}. Received: {found}; record "
        "into another directory."
    )


def _most_bytes(shard, record):
    """The bytes that a file's records take at most, what surrounds them included."""
    return (shard["stop"] - shard["start"]) * (2 * record.itemsize + 256) + (1 << 20)


def _decoded_bytes(file: BinaryIO) -> int:
    """Returns the bytes of all that a Riegeli file holds, as the headers of its chunks say.

    A reader reserves them before it finds the file too short, and zeros by the gigabyte compress
    into a few bytes.
    """
    total = at = 0
    end = os.fstat(file.fileno()).st_size
    while at < end:
        file.seek(at)
        header = file.read(_CHUNK_HEADER + _BLOCK_HEADER)
        header = _without_block_header(header, at)
        size, records, decoded = (
            int.from_bytes(header[start:stop], "little")
            for start, stop in ((8, 16), (25, 32), (32, 40))
        )
        total += decoded
        # As Riegeli finds the next chunk: after the bytes, but also a byte for each record.
        after = _after(at, _CHUNK_HEADER + size)
        least = at + records
        least += max(0, -least % _BLOCK - (_BLOCK - _BLOCK_HEADER - 1))
        at = max(after, least, at + 1)
    return total


def _without_block_header(header, at):
    """A chunk's header from what lies at its place, where a block may begin within."""
    start = -at % _BLOCK
    return header[:start] + header[start + _BLOCK_HEADER :]


def _after(at, length):
    """The place after so many bytes from a place on, headers of blocks not counted."""
    usable = _BLOCK - _BLOCK_HEADER
    blocks = (length + (at + usable - 1) % _BLOCK) // usable
    return at + length + blocks * _BLOCK_HEADER
