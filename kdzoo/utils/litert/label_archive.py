"""The zip archive behind a LiteRT file: class names, and the hash of the network before it."""

import dataclasses
import io
import json
import os
import re
import zipfile
from typing import Any

LABELS = "labels.txt"
METADATA = "metadata.json"

_MOST = 4 << 20  # Bytes of a member that is read.
_MEMBERS = 100
# Where an archive begins that has no end: its first member, or a part of that.
_BEGINNING = re.compile(rb"PK\x03\x04.{26}(?:labels\.txt|metadata\.json)", re.DOTALL)
_TAIL = 64


@dataclasses.dataclass(frozen=True)
class Associated:
    """What lies behind the network of a LiteRT file.

    Attributes:
        end: Bytes of the network.
        labels: List of class names, or None.
        metadata: The fields of `metadata.json`; none where there is no such file.
    """

    end: int
    labels: list[str] | None
    metadata: dict[str, Any]

    @property
    def sha256(self) -> str | None:
        """The network's SHA-256, or None."""
        return self.metadata.get("sha256")


def read_associated(path: os.PathLike[str] | str, content: bytes) -> Associated:
    """Returns what lies behind the network of a LiteRT file.

    Args:
        path: The file's path, for errors.
        content: Its bytes.

    Raises:
        ValueError: If the archive is damaged or cut off, or a part of it is larger than any that
            kdzoo writes.
    """
    try:
        return _read(content)
    except Exception as error:  # zipfile raises whatever a damaged archive leads to.
        reason = str(error) or type(error).__name__
        raise ValueError(
            f"Expected a whole LiteRT file in {path}. Received: a damaged archive of labels behind "
            f"the network ({reason}); export it or fetch it again."
        ) from error


def _read(content):
    if not zipfile.is_zipfile(io.BytesIO(content)):
        if _BEGINNING.search(content) or b"PK\x03\x04" in content[-_TAIL:] or len(content) % 4:
            raise ValueError("cut off")
        return Associated(len(content), None, {})
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = archive.infolist()
        if len(members) > _MEMBERS:
            raise ValueError(f"{len(members)} files")
        for member in members:  # Names are compared with those before the files themselves.
            archive.open(member).close()
        end = min((member.header_offset for member in members), default=len(content))
        files = {
            name: _member(archive, name)
            for name in (LABELS, METADATA)
            if name in archive.NameToInfo
        }
    labels = files[LABELS].splitlines() if LABELS in files else None
    metadata = json.loads(files[METADATA]) if METADATA in files else {}
    if not isinstance(metadata, dict):
        raise ValueError(f"{METADATA} without fields")
    sha256 = metadata.get("sha256")
    if not isinstance(sha256, str | None):
        raise ValueError(f"{METADATA} with the SHA-256 {sha256!r}")
    if "labels" in metadata and metadata["labels"] != labels:
        raise ValueError(f"{METADATA} with other labels than {LABELS}")
    return Associated(end, labels, metadata)


def _member(archive, name):
    """Returns the text of a member that says how large it is, and is no larger."""
    with archive.open(name) as file:
        content = file.read(_MOST + 1)
    if len(content) > _MOST:
        raise ValueError(f"{name} of more than {_MOST:,} bytes")
    if len(content) != archive.getinfo(name).file_size:
        raise ValueError(f"{name} of another size than is said")
    return content.decode("utf-8")
