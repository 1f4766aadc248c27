"""The texts in the attributes of an HDF5 file, read without the library.

A text lies elsewhere in the file, and an attribute refers to it by its length and its place. A
thousand names may refer to one text of a megabyte, of which the library would make a thousand; and
where a place is damaged, the library may search without end.
"""

import io
import math
import struct

import h5py
from h5py import h5o

_CONTINUED, _ATTRIBUTE = 0x10, 0x0C  # Messages in the header of a group.
_REFERENCE = struct.Struct("<IQI")  # The length of a text, its heap's place, its number there.
_OBJECT = struct.Struct("<HHIQ")  # Of a text in a heap: its number, uses, nothing, its size.
_HEAP, _HEAP_START = b"GCOL\x01\0\0\0", 16
_NEW_HEADER = b"OHDR"  # Of a group in the format of HDF5 1.8 and later.
_MOST_BLOCKS = 1000  # Parts of a header, which Keras keeps below 64 KB.


class Texts:
    """Reads texts of a file, together no more than its size.

    Args:
        content: The content of the file.
        size: Its size in bytes.
    """

    def __init__(self, content: io.BufferedIOBase, size: int) -> None:
        self._content, self._size = content, size
        self._left, self._in_heaps = size, 0
        self._heaps: dict[int, dict[int, bytes]] = {}

    def of(self, group: h5py.Group, attribute: str) -> list[bytes]:
        """Returns the texts in an attribute of a group, in order; one if it is no list.

        Raises:
            ValueError: If the attribute has no texts, they are larger than the file, or it is not
                as Keras writes it.
        """
        info = group.attrs.get_id(attribute)
        count = math.prod(info.shape)
        if count == 0:
            return []
        if len(info.shape) > 1 or count * info.dtype.itemsize > self._size:
            raise ValueError(f"no list of names in {attribute!r}")
        if info.dtype.kind == "S":
            value = group.attrs[attribute]
            return [bytes(value)] if info.shape == () else [bytes(text) for text in value]
        if h5py.check_string_dtype(info.dtype) is None:
            raise ValueError(f"no text in {attribute!r}")
        references = self._references(h5o.get_info(group.id).addr, attribute.encode())
        return [self._text(*reference) for reference in references[:count]]

    def _text(self, length, place, number):
        self._left -= length
        if self._left < 0:
            raise ValueError("texts in it that are larger than the file")
        if place not in self._heaps:
            self._heaps[place] = dict(self._objects(place))
        text = self._heaps[place].get(number, b"")
        if length > len(text):
            raise ValueError("a text in it that is cut off")
        return text[:length].partition(b"\0")[0]

    def _objects(self, place):
        """Yields (number, text) of a heap."""
        start = self._read(place, _HEAP_START)
        size = int.from_bytes(start[8:], "little")
        self._in_heaps += size  # Heaps do not overlap.
        if start[:8] != _HEAP or self._in_heaps > self._size:
            raise ValueError("a text in it that is not there")
        heap, at = self._read(place, size), _HEAP_START
        while at + _OBJECT.size <= len(heap):
            number, _, _, length = _OBJECT.unpack_from(heap, at)
            at += _OBJECT.size
            if number == 0:  # What is free is last.
                return
            yield number, heap[at : at + length]
            at += -(-length // 8) * 8

    def _references(self, place, name):
        """Returns the references to the texts of an attribute."""
        for data in self._attributes(place):
            version, flags, name_size, type_size, space_size = struct.unpack_from("<BBHHH", data)
            start = 9 if version == 3 else 8  # The third version says how the name is encoded.
            if data[start : start + name_size].rstrip(b"\0") != name:
                continue
            if flags and version > 1:  # Its type lies elsewhere.
                break
            step = 8 if version == 1 else 1
            at = start + sum(-(-size // step) * step for size in (name_size, type_size, space_size))
            whole = (len(data) - at) // _REFERENCE.size * _REFERENCE.size
            return list(_REFERENCE.iter_unpack(data[at : at + whole]))
        raise ValueError(f"{name.decode()!r} in it not as Keras writes it")

    def _attributes(self, place):
        """Yields the messages of attributes in the header of a group."""
        start = self._read(place, 12)
        if start.startswith(_NEW_HEADER):
            raise ValueError(
                'a newer layout of HDF5, as of `libver="latest"` of h5py; save it anew, with '
                "h5py's usual libver"
            )
        version, _, _, _, size = struct.unpack("<BBHII", start)
        blocks = [(place + 16, size)]
        for _ in range(_MOST_BLOCKS):
            if version != 1 or not blocks:
                return
            block, at = self._read(*blocks.pop()), 0
            while at + 8 <= len(block):
                kind, length, flags = struct.unpack_from("<HHB", block, at)
                data = block[at + 8 : at + 8 + length]
                at += 8 + length
                if kind == _CONTINUED:
                    blocks.append(struct.unpack_from("<QQ", data))
                elif kind == _ATTRIBUTE and not flags & 2:  # Which says that it lies elsewhere.
                    yield data

    def _read(self, place, size):
        if place + size > self._size:
            raise ValueError("a text in it that is cut off")
        self._content.seek(place)
        return self._content.read(size)
