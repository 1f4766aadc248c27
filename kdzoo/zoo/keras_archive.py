"""Whether a `.keras` file is what Keras writes, before Keras opens it: whole, bounded, of numbers.

Keras reads what a file says that it holds. Here its parts are read first, without building or
running anything: never more than the bytes on disk, and nothing that leads out of the file.
"""

import io
import json
import math
import os
import struct
import zipfile

import numpy as np

from kdzoo.utils import open_regular

CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
_ASSETS = "assets/"
_MOST_DIRECTORY = 1 << 20  # Bytes of the list of members; Keras writes three.
_MOST_CONFIG = 32 << 20  # Bytes of a configuration; a network of a thousand layers has 2 MB.
_MOST_PARTS = 600_000  # Of a configuration, each of which takes some 100 bytes of memory.
_MOST_VALUES = 3_000_000  # And numbers in lists, 36: the labels of ImageNet are 1.3 million.
_DEEPEST = 200  # Levels of a configuration; a model within five others has 60.
_LARGEST = 1 << 63  # Beyond the integers of any layer.
_BLOCK = 1 << 20
_NAME_LENGTHS = 26  # Bytes before the lengths of its name in the header of a member.


def check_archive(path):
    """Returns the bytes of all weights that a `.keras` file holds.

    Args:
        path: The file, a path.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is damaged, holds more than Keras writes or more than its own size, leads
            out of itself, or has a weight that is not finite; one that is infinite throughout is
            allowed, since a layer or a loss may begin with infinity as the least it has seen.
    """
    with open_regular(path) as file:
        try:
            archive = zipfile.ZipFile(_Sparing(file))
            _check_members(archive.infolist(), os.fstat(file.fileno()).st_size)
            for member in archive.infolist():
                if member.filename != CONFIG:
                    _read_through(archive, member)
            _check_config(_config(archive))
            return _check_weights(_Part(file, archive.getinfo(WEIGHTS)))
        # Both libraries raise whatever they stumble over in a damaged file.
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ValueError(
                f"Expected a .keras file of a model. Received: {path}, which is damaged or was not "
                f"written by Keras 3: {reason}"
            ) from error


class _Sparing:
    """A file of which zipfile reads its list of members only up to a size."""

    def __init__(self, file):
        self._file, self.seek, self.tell = file, file.seek, file.tell
        self.seekable, self.close = file.seekable, file.close

    def read(self, size=-1):
        most = max(_MOST_DIRECTORY, _BLOCK)
        content = self._file.read(most + 1 if size is None or size < 0 else min(size, most + 1))
        if len(content) > most:
            raise ValueError("a list of members that has no end")
        return content


class _Part(io.RawIOBase):
    """A member that is not compressed, as a file of its own which is read where it lies.

    Args:
        file: The archive's file, open.
        member: The `zipfile.ZipInfo` of the member, which has been read through before.
    """

    def __init__(self, file, member):
        file.seek(member.header_offset + _NAME_LENGTHS)
        name, extra = struct.unpack("<HH", file.read(4))
        self._start = member.header_offset + _NAME_LENGTHS + 4 + name + extra
        self._file, self.size, self._at = file, member.file_size, 0

    def readable(self):
        return True

    def seekable(self):
        return True

    def seek(self, offset, whence=os.SEEK_SET):
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer):
        room = memoryview(buffer).cast("B")[: max(0, self.size - self._at)]
        self._file.seek(self._start + self._at)
        read = self._file.readinto(room)
        self._at += read
        return read


def _check_members(members, size):
    """Raises unless these are the members that Keras writes, and not larger than the file."""
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
    """Whether a member is a file, or a directory, of what layers such as vocabularies keep."""
    parts = name.removesuffix("/").split("/")
    plain = all(part not in ("", ".", "..") for part in parts) and name.isprintable()
    return name.startswith(_ASSETS) and plain and not set(name) & set("\\:")


def _config(archive):
    """The content of the configuration, checked by its checksum and its size."""
    member = archive.getinfo(CONFIG)
    if member.file_size > _MOST_CONFIG:
        raise ValueError(f"a {CONFIG} of {member.file_size:,} bytes")
    content = io.BytesIO()
    _read_through(archive, member, content.write)
    return content.getvalue()


def _read_through(archive, member, take=len):
    """Reads a member block by block, which compares its checksum at the end."""
    with archive.open(member) as file:
        read = 0
        while block := file.read(_BLOCK):
            read += len(block)
            take(block)
    if read != member.file_size:
        raise ValueError(f"{member.filename!r} in it cut off")


def _check_config(content):
    """Raises unless a configuration is JSON, of fields with names, not too many nor too deep."""
    parts = sum(map(content.count, (b":", b"[", b"{", b'",')))
    if parts > _MOST_PARTS or content.count(b",") > _MOST_VALUES:
        raise ValueError(f"a {CONFIG} of more values than are opened here")
    try:
        config = json.loads(content.decode("utf-8"))
    except RecursionError:
        raise ValueError(f"lists within lists without end in {CONFIG}") from None
    except ValueError as error:
        raise ValueError(f"a {CONFIG} that is no JSON ({error})") from error
    if not isinstance(config, dict) or not isinstance(config.get("class_name"), str):
        raise ValueError(f"a {CONFIG} of no model")
    waiting = [(config, 1)]
    while waiting:
        part, depth = waiting.pop()
        if depth > _DEEPEST:
            raise ValueError(f"lists within lists without end in {CONFIG}")
        if isinstance(part, int) and abs(part) >= _LARGEST:
            raise ValueError(f"a number in {CONFIG} beyond those of any layer")
        inner = part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
        waiting += ((each, depth + 1) for each in inner)


def _check_weights(content):
    """Returns the bytes of the arrays in an HDF5 file, a `_Part`, all of numbers and its own."""
    import h5py

    total = 0
    # Of h5py the lower half, which takes a fifth of the time.
    with h5py.File(content, "r") as file:
        for path, dataset in _datasets(h5py.h5g.open(file.id, b"/")):
            dtype = dataset.dtype
            size = math.prod(dataset.shape) * dtype.itemsize
            total += size
            if total > content.size:
                raise ValueError(f"weights in it that are larger than the file, at {path!r}")
            _check_numbers(path, *_layout(path, dataset, dtype, size, content))
    return total


def _datasets(root):
    """Yields (path, dataset) of an HDF5 file that consists of groups and datasets alone."""
    from h5py import h5d, h5g, h5l, h5o

    waiting, seen = [("", root)], {_place(root)}
    while waiting:
        prefix, group = waiting.pop()
        for name in group:
            path = f"{prefix}/{name.decode(errors='replace')}"
            if group.links.get_info(name).type != h5l.TYPE_HARD:
                raise ValueError(f"a link to elsewhere in its weights, {path!r}")
            item = h5o.open(group, name)
            if _place(item) in seen:
                raise ValueError(f"the same weights under two names, {path!r}")
            seen.add(_place(item))
            if isinstance(item, h5g.GroupID):
                waiting.append((path, item))
            elif isinstance(item, h5d.DatasetID):
                yield path, item
            else:
                raise ValueError(f"neither a group nor an array in its weights, {path!r}")


def _place(item):
    """Where in its file a group or a dataset lies."""
    from h5py import h5o

    found = h5o.get_info(item)
    return found.fileno, found.addr


def _layout(path, dataset, dtype, size, content):
    """The type of a dataset's numbers, and their bytes block by block; they lie in one piece."""
    from h5py import h5a, h5d, h5s

    settings = dataset.get_create_plist()
    layout = settings.get_layout()
    if settings.get_external_count() or layout not in (h5d.CONTIGUOUS, h5d.COMPACT):
        raise ValueError(f"weights that are compressed or lie elsewhere, at {path!r}")
    if dtype.kind not in "biufcV" or dtype.names is not None or dtype.hasobject:
        raise ValueError(f"weights that are no numbers, at {path!r}")
    named = _named_type(path, dataset, dtype) if h5a.exists(dataset, b"dtype") else dtype
    if layout == h5d.COMPACT:
        values = np.empty(dataset.shape, dtype)
        dataset.read(h5s.ALL, h5s.ALL, values)
        return named, [values.tobytes()]
    start = dataset.get_offset()
    if size and (start is None or start + size > content.size):
        raise ValueError(f"weights that are cut off, at {path!r}")
    return named, _blocks(content, start, size)


def _blocks(content, start, size):
    """Yields the bytes of a part of a file, in blocks of which each holds whole numbers."""
    end = (start or 0) + size
    for place in range(start or 0, end, _BLOCK):
        content.seek(place)
        yield content.read(min(_BLOCK, end - place))


def _named_type(path, dataset, dtype):
    """The type of a dataset's numbers, where Keras wrote its name beside one that HDF5 has not."""
    import h5py
    import ml_dtypes

    attributes = h5py.Dataset(dataset).attrs
    if attributes.get_id("dtype").shape != ():
        raise ValueError(f"weights of several types, at {path!r}")
    is_brain_float = attributes["dtype"] == "bfloat16" and dtype.itemsize == 2
    return np.dtype(ml_dtypes.bfloat16) if is_brain_float else dtype


def _check_numbers(path, dtype, blocks):
    """Raises if a number of an array is NaN, or some but not all of its numbers are infinite.

    A weight may begin with infinity throughout, as the least that a layer or a loss has seen;
    damage makes some of the numbers infinite.
    """
    if dtype.kind in "iubV" and dtype.name != "bfloat16":
        return
    infinite = total = 0
    for block in blocks:
        values = np.frombuffer(block, dtype)
        total += len(values)
        if not np.isfinite(values).all():
            infinite += np.isinf(values).sum()
            if np.isnan(values).any():
                raise ValueError(f"NaN or infinity among its weights, at {path!r}")
    if 0 < infinite < total:
        raise ValueError(f"NaN or infinity among its weights, at {path!r}")
