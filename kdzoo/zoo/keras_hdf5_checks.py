"""The HDF5 file within a `.keras` file, checked before Keras opens it: arrays of numbers alone."""

import io
import math
from collections.abc import Iterable
from typing import Any

import h5py
import ml_dtypes
import numpy as np
from h5py import h5a, h5d, h5g, h5l, h5o, h5s

_BLOCK = 1 << 20
_UNREAD = ("/optimizer/", "/optimizer_weights/")  # What only a model that is compiled would read.


def check_weights(
    content: io.RawIOBase | io.BufferedIOBase, most: int, names_types: bool = True
) -> int:
    """Returns the bytes of the arrays in an HDF5 file.

    Args:
        content: The file.
        most: Its size in bytes, which its arrays may not exceed.
        names_types: Whether an array may name its type, as those of bfloat16 in `.keras` files do.

    Raises:
        ValueError: If something in it is no array of numbers, lies outside the file or is
            compressed, or if a weight of the model, the optimizer's left out, has NaN, or infinity
            in some but not all of its numbers.
    """
    total = 0
    # The low-level API of h5py takes a fifth of the time.
    with h5py.File(content, "r") as file:
        for path, dataset in _datasets(h5py.h5g.open(file.id, b"/")):
            size = math.prod(dataset.shape) * dataset.dtype.itemsize
            total += size
            if total > most:
                raise ValueError(f"weights in it that are larger than the file, at {path!r}")
            is_named = h5a.exists(dataset, b"dtype") or dataset.dtype.kind == "V"
            if is_named and not names_types:
                raise ValueError(f"weights of a type that Keras does not write so, at {path!r}")
            dtype, blocks = _numbers(path, dataset, size, content, most)
            if not path.startswith(_UNREAD):
                _check_numbers(path, dtype, blocks)
    return total


def _datasets(root):
    """Yields (path, dataset) of an HDF5 file that consists of groups and datasets alone."""
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
    """Returns the file and the address of a group or a dataset."""
    found = h5o.get_info(item)
    return found.fileno, found.addr


def _numbers(path, dataset, size, content, most):
    """Returns the type of a dataset's numbers, and their bytes block by block; raises unless plain.

    The bytes of a plain dataset lie in one piece.
    """
    dtype = dataset.dtype
    settings = dataset.get_create_plist()
    layout = settings.get_layout()
    if settings.get_external_count() or layout not in (h5d.CONTIGUOUS, h5d.COMPACT):
        raise ValueError(f"weights that are compressed or lie elsewhere, at {path!r}")
    if dtype.kind not in "biufcV" or dtype.names is not None or dtype.hasobject:
        raise ValueError(f"weights that are not numbers, at {path!r}")
    named = _named_type(path, dataset, dtype) if h5a.exists(dataset, b"dtype") else dtype
    if layout == h5d.COMPACT:
        values = np.empty(dataset.shape, dtype)
        dataset.read(h5s.ALL, h5s.ALL, values)
        return named, [values.tobytes()]
    start = dataset.get_offset()
    if size and (start is None or start + size > most):
        raise ValueError(f"weights that are cut off, at {path!r}")
    return named, _blocks(content, start, size)


def _blocks(content, start, size):
    """Yields the bytes of a part of a file in blocks of whole numbers."""
    end = (start or 0) + size
    for place in range(start or 0, end, _BLOCK):
        content.seek(place)
        yield content.read(min(_BLOCK, end - place))


def _named_type(path, dataset, dtype):
    """Returns the type whose name Keras wrote into an attribute, as HDF5 has no bfloat16."""
    attributes = h5py.Dataset(dataset).attrs
    if attributes.get_id("dtype").shape != ():
        raise ValueError(f"weights of several types, at {path!r}")
    is_brain_float = attributes["dtype"] == "bfloat16" and dtype.itemsize == 2
    return np.dtype(ml_dtypes.bfloat16) if is_brain_float else dtype


def _check_numbers(path: str, dtype: Any, blocks: Iterable[bytes]) -> None:
    """Raises if a number of an array is NaN, or if some but not all of its numbers are infinite.

    All numbers of a running minimum are infinite at first; damage makes some of them infinite.
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
