"""How much text the attributes of an HDF5 file claim to have, read before the library reads them.

A text lies elsewhere in the file, and an attribute refers to it by its length and its place. A
thousand names may refer to one text of a megabyte, of which the library would make a thousand.
"""

import io
import struct

import h5py
from h5py import h5o

_CONTINUED, _ATTRIBUTE = 0x10, 0x0C  # Messages in the header of a group.
_TEXT = 9  # The class of types of any length.
_REFERENCE = struct.Struct("<IQI")  # Length, place, number.
_MOST_BLOCKS = 1000  # Parts of a header.


def check_texts(file: h5py.File, content: io.BufferedIOBase, most: int) -> None:
    """Raises unless all texts in the attributes of an HDF5 file fit into it.

    Args:
        file: The file, whose links `check_weights` has found good.
        content: Its content.
        most: Its size in bytes.

    Raises:
        ValueError: If they do not, or a header is not as Keras writes it.
    """
    total = 0
    waiting = [file["/"]]
    while waiting:
        group = waiting.pop()
        waiting += [item for item in group.values() if isinstance(item, h5py.Group)]
        if any(_is_text(group.attrs.get_id(name)) for name in group.attrs):
            place = h5o.get_info(group.id).addr
            total += sum(_lengths(content, place, most))
        if total > most:
            raise ValueError("texts in it that are larger than the file")


def _is_text(attribute):
    return h5py.check_string_dtype(attribute.dtype) is not None and attribute.dtype.kind == "O"


def _lengths(content, place, most):
    """Yields the length of each text that the attributes of a group refer to."""
    for data in _attributes(content, place, most):
        version, flags, name, kind, space = struct.unpack_from("<BBHHH", data)
        if flags and version > 1:
            raise ValueError("an attribute that Keras does not write so")
        start = 9 if version == 3 else 8  # The third version says how the name is encoded.
        step = 8 if version == 1 else 1
        type_at = start + -(-name // step) * step
        if data[type_at] & 0x0F != _TEXT:
            continue
        at = type_at + -(-kind // step) * step + -(-space // step) * step
        values = data[at:]
        whole = len(values) // _REFERENCE.size * _REFERENCE.size
        for length, _, _ in _REFERENCE.iter_unpack(values[:whole]):
            yield length


def _attributes(content, place, most):
    """Yields the messages of attributes in the header of a group."""
    content.seek(place)
    version, _, _, _, size = struct.unpack("<BBHII", content.read(12))
    if version != 1:
        raise ValueError("a header that Keras does not write so")
    blocks, read = [(place + 16, size)], 0
    while blocks:
        start, size = blocks.pop()
        read += 1
        if read > _MOST_BLOCKS or start + size > most:
            raise ValueError("a header without end")
        content.seek(start)
        block, at = content.read(size), 0
        while at + 8 <= len(block):
            kind, length, flags = struct.unpack_from("<HHB", block, at)
            data = block[at + 8 : at + 8 + length]
            at += 8 + length
            if kind == _CONTINUED:
                blocks.append(struct.unpack_from("<QQ", data))
            elif kind == _ATTRIBUTE:
                if flags & 2:  # It lies elsewhere.
                    raise ValueError("an attribute that Keras does not write so")
                yield data
