"""Whether a `.keras` file is what Keras writes, before Keras opens it: whole, bounded, of numbers.

Keras reads what a file says that it holds. Here its parts are read first, without building or
running anything: never more than the bytes on disk, and nothing that leads out of the file.
"""

import io
import json
import math
import os
import zipfile

import numpy as np

from kdzoo.utils import open_regular

CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
_ASSETS = "assets/"
_MOST_DIRECTORY = 1 << 20  # Bytes of the list of members; Keras writes three.
_MOST_CONFIG = 32 << 20  # Bytes of a configuration; a network of a thousand layers has 2 MB.
_MOST_VALUES = 1_000_000  # In a configuration, of which every one takes 100 bytes of memory.
_DEEPEST = 200  # Levels of a configuration; a model within five others has 60.
_LARGEST = 1 << 63  # Beyond the integers of any layer.
_BLOCK = 1 << 20


def check_archive(path):
    """Returns the bytes of all weights that a `.keras` file holds.

    Args:
        path: The file, a path.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is damaged, holds more than Keras writes or more than its own size, leads
            out of itself, or has a weight that is not finite.
    """
    with open_regular(path) as file:
        try:
            archive = zipfile.ZipFile(_Sparing(file))
            _check_members(archive.infolist(), os.fstat(file.fileno()).st_size)
            for member in archive.infolist():
                if member.filename not in (CONFIG, WEIGHTS):
                    _read_through(archive, member)
            _check_config(_content(archive, CONFIG))
            return _check_weights(_content(archive, WEIGHTS))
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


def _content(archive, name):
    """The content of a member, checked by its checksum and its size."""
    member = archive.getinfo(name)
    if name == CONFIG and member.file_size > _MOST_CONFIG:
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
    if sum(map(content.count, (b",", b":", b"[", b"{"))) > _MOST_VALUES:
        raise ValueError(f"a {CONFIG} of more than {_MOST_VALUES:,} values")
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
    """Returns the bytes of the arrays in an HDF5 file, all of them finite and its own."""
    import h5py

    total = 0
    # Of h5py the lower half, which takes a fifth of the time.
    with h5py.File(io.BytesIO(content), "r") as file:
        for path, dataset in _datasets(h5py.h5g.open(file.id, b"/")):
            dtype = dataset.dtype
            size = math.prod(dataset.shape) * dtype.itemsize
            total += size
            if total > len(content):
                raise ValueError(f"weights in it that are larger than the file, at {path!r}")
            _check_finite(path, _values(path, dataset, dtype, size, content))
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


def _values(path, dataset, dtype, size, content):
    """The numbers of a dataset, flat, which lie in one piece in the file's content."""
    from h5py import h5a, h5d, h5s

    settings = dataset.get_create_plist()
    layout = settings.get_layout()
    if settings.get_external_count() or layout not in (h5d.CONTIGUOUS, h5d.COMPACT):
        raise ValueError(f"weights that are compressed or lie elsewhere, at {path!r}")
    if dtype.kind not in "biufcV" or dtype.names is not None or dtype.hasobject:
        raise ValueError(f"weights that are no numbers, at {path!r}")
    if h5a.exists(dataset, b"dtype"):
        dtype = _named_type(path, dataset, dtype)
    if layout == h5d.COMPACT:
        values = np.empty(dataset.shape, dataset.dtype)
        dataset.read(h5s.ALL, h5s.ALL, values)
        return values.reshape(-1).view(dtype)
    start = dataset.get_offset()
    if size and (start is None or start + size > len(content)):
        raise ValueError(f"weights that are cut off, at {path!r}")
    return np.frombuffer(content, dtype, size // dtype.itemsize, start) if size else np.zeros(0)


def _named_type(path, dataset, dtype):
    """The type of a dataset's numbers, where Keras wrote its name beside one that HDF5 has not."""
    import h5py
    import ml_dtypes

    attributes = h5py.Dataset(dataset).attrs
    if attributes.get_id("dtype").shape != ():
        raise ValueError(f"weights of several types, at {path!r}")
    is_brain_float = attributes["dtype"] == "bfloat16" and dtype.itemsize == 2
    return np.dtype(ml_dtypes.bfloat16) if is_brain_float else dtype


def _check_finite(path, values):
    """Raises unless all numbers of an array are finite."""
    if values.dtype.kind in "iubV" and values.dtype.name != "bfloat16":
        return
    for start in range(0, len(values), _BLOCK):
        if not np.isfinite(values[start : start + _BLOCK]).all():
            raise ValueError(f"NaN or infinity among its weights, at {path!r}")
