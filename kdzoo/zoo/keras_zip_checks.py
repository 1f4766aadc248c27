"""Whether a `.keras` file is what Keras writes, checked before Keras opens it.

Keras trusts the sizes and links in a file. Here its parts are read first, without building or
running anything: never more than the bytes on disk, and nothing outside the file.
"""

import io
import json
import os
import re
import struct
import zipfile
from typing import Any

from kdzoo.utils import open_regular
from kdzoo.utils.types import PathLike
from kdzoo.zoo.keras_hdf5_checks import check_weights

CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
_ASSETS = "assets/"
_MOST_DIRECTORY = 1 << 20  # Bytes of the list of members; Keras writes three.
_MOST_CONFIG = 32 << 20  # Bytes of a configuration; a network of a thousand layers has 2 MB.
_MOST_PARTS = 600_000  # Parts of a configuration, of some 100 bytes of memory.
_MOST_VALUES = 3_000_000  # Numbers in lists, of 36 bytes; the labels of ImageNet are 1.3 million.
_DEEPEST = 200  # Levels of a configuration; a model within five others has 60.
_LARGEST = 1 << 63  # No layer has an integer as large.
_BLOCK = 1 << 20
_MOST_METADATA = 1 << 16
_VERSION = re.compile(rb'"keras_version": *"([0-9]+)[.]([0-9]+)')
_NAME_LENGTHS = 26  # Bytes before the lengths of its name in the header of a member.


def check_archive(path: PathLike) -> int:
    """Returns the number of bytes of all weights in a `.keras` file.

    Args:
        path: The file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, holds something that Keras does not write or more than its
            own size, refers to another file, or has a weight that is not finite. A weight that is
            infinite throughout is allowed, because a running minimum starts with infinity.
    """
    with open_regular(path) as file:
        try:
            archive = zipfile.ZipFile(_Sparing(file))
            _check_members(archive.infolist(), os.fstat(file.fileno()).st_size)
            for member in archive.infolist():
                if member.filename != CONFIG:
                    _read_through(archive, member)
            checked_config(_read_config(archive))
            part = _Part(file, archive.getinfo(WEIGHTS))
            return check_weights(part, part.size)
        # In a damaged file, both libraries may raise any exception.
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ValueError(
                f"Expected a .keras file of a model. Received: {path}, which is damaged or was not "
                f"written by Keras 3: {reason}"
            ) from error


def config_of_keras_2(path: PathLike) -> tuple[dict[str, Any], int] | None:
    """Returns what a `.keras` file that Keras 2 wrote has for a configuration, and its version.

    Args:
        path: The file, which `check_archive` has found good.

    Returns:
        The configuration and the version's second number, 12 of 2.12; None if it is not of Keras 2.
    """
    with open_regular(path) as file, zipfile.ZipFile(_Sparing(file)) as archive:
        if METADATA not in archive.namelist():
            return None
        with archive.open(METADATA) as member:
            found = _VERSION.search(member.read(_MOST_METADATA))
        if found is None or int(found[1]) > 2:
            return None
        return checked_config(_read_config(archive)), int(found[2])


def weights_member(file: io.BufferedReader) -> io.BytesIO:
    """Returns the weights in a `.keras` file, open, that `check_archive` has found good."""
    with zipfile.ZipFile(_Sparing(file)) as archive:
        return io.BytesIO(archive.read(WEIGHTS))


class _Sparing:
    """A file whose list of members is read by zipfile up to a size only."""

    def __init__(self, file: io.BufferedReader) -> None:
        self._file, self.seek, self.tell = file, file.seek, file.tell
        self.seekable, self.close = file.seekable, file.close

    def read(self, size: int | None = -1) -> bytes:
        """Returns at most `size` bytes, or all of them; raises `ValueError` if these are many."""
        most = max(_MOST_DIRECTORY, _BLOCK)
        content = self._file.read(most + 1 if size is None or size < 0 else min(size, most + 1))
        if len(content) > most:
            raise ValueError("a list of members that has no end")
        return content


class _Part(io.RawIOBase):
    """A member that is not compressed, as a file of its own that is read in place.

    Args:
        file: The archive's file, open.
        member: The `zipfile.ZipInfo` of the member, whose checksum was compared before.
    """

    def __init__(self, file: io.BufferedReader, member: zipfile.ZipInfo) -> None:
        file.seek(member.header_offset + _NAME_LENGTHS)
        name, extra = struct.unpack("<HH", file.read(4))
        self._start = member.header_offset + _NAME_LENGTHS + 4 + name + extra
        self._file, self.size, self._at = file, member.file_size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        room = memoryview(buffer).cast("B")[: max(0, self.size - self._at)]
        self._file.seek(self._start + self._at)
        read = self._file.readinto(room)
        self._at += read
        return read


def _check_members(members, size):
    """Raises unless these are members that Keras writes, together no larger than the file."""
    names = [member.filename for member in members]
    for name in (CONFIG, WEIGHTS):
        if name not in names:
            raise ValueError(f"no {name} in it")
    if len(set(names)) < len(names):
        raise ValueError("two members of one name")
    for member in members:
        name = member.filename
        if name not in (CONFIG, METADATA, WEIGHTS) and not _is_asset(name):
            raise ValueError(f"{name!r} in it, which Keras does not write")
        if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
            raise ValueError(
                f"{name!r} in it compressed or encrypted, as Keras does not write it; save the "
                "model anew with `model.save`"
            )
        if member.file_size != member.compress_size:
            raise ValueError(f"{name!r} in it with a size that is not its own")
    if sum(member.file_size for member in members) > size:
        raise ValueError("members that are larger than the file")


def _is_asset(name):
    """Whether a member is a file, or a directory, that a layer such as a vocabulary keeps."""
    parts = name.removesuffix("/").split("/")
    plain = all(part not in ("", ".", "..") for part in parts) and name.isprintable()
    return name.startswith(_ASSETS) and plain and not set(name) & set("\\:")


def _read_config(archive):
    """Returns the content of the configuration, after checking its checksum and its size."""
    member = archive.getinfo(CONFIG)
    if member.file_size > _MOST_CONFIG:
        raise ValueError(f"a {CONFIG} of {member.file_size:,} bytes")
    content = io.BytesIO()
    _read_through(archive, member, content.write)
    return content.getvalue()


def _read_through(archive, member, take=len):
    """Reads a member block by block; zipfile compares its checksum at the end."""
    with archive.open(member) as file:
        read = 0
        while block := file.read(_BLOCK):
            read += len(block)
            take(block)
    if read != member.file_size:
        raise ValueError(f"{member.filename!r} in it cut off")


def checked_config(content: bytes, name: str = CONFIG) -> dict[str, Any]:
    """Returns a configuration, if it is JSON, of fields with names, not too many nor too deep.

    Args:
        content: The bytes of the JSON.
        name: What errors call it.

    Raises:
        ValueError: If it is not.
    """
    if len(content) > _MOST_CONFIG:
        raise ValueError(f"a {name} of {len(content):,} bytes")
    parts = sum(map(content.count, (b":", b"[", b"{", b'",')))
    if parts > _MOST_PARTS or content.count(b",") > _MOST_VALUES:
        raise ValueError(f"a {name} of more values than are opened here")
    try:
        config = json.loads(content.decode("utf-8"))
    except RecursionError:
        raise ValueError(f"lists within lists without end in {name}") from None
    except ValueError as error:
        raise ValueError(f"a {name} that is no JSON ({error})") from error
    if not isinstance(config, dict) or not isinstance(config.get("class_name"), str):
        raise ValueError(f"a {name} of no model")
    waiting = [(config, 1)]
    while waiting:
        part, depth = waiting.pop()
        if depth > _DEEPEST:
            raise ValueError(f"lists within lists without end in {name}")
        if isinstance(part, int) and abs(part) >= _LARGEST:
            raise ValueError(f"a number in {name} beyond those of any layer")
        inner = part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
        waiting += ((item, depth + 1) for item in inner)
    return config
