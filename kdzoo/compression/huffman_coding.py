"""Weights as few bytes, bit for bit: gaps between numbers, codebooks, Huffman codes.

Each array is coded in the way that takes the fewest bytes of it:

- its bytes as they are, or those of each place within a number on their own, since signs and
  exponents repeat and the low digits do not;
- where it has 256 different values or fewer, these and the index of each number, in a byte or, of
  16 values or fewer, in 4, 2 or 1 bits;
- where it is ±s, with one s for each place of the last axis, these and a bit for the sign of each;
- where it has zeros, either of these for the numbers that are not zero, and one byte for the gap
  before each: 0 to 254 zeros, 255 for 255 zeros and no number.

Every stream of bytes is Huffman-coded by zlib where that is shorter, with repetitions told as such
where that is shorter still. A number counts as zero, and two as equal, by their bits: -0.0 is not
zero, and a NaN keeps its payload.
"""

import dataclasses
import math
import zlib
from typing import Any

import ml_dtypes
import numpy as np

from kdzoo.utils import shown

Coded = dict[str, Any]

LARGEST_RATIO = 1000
"""How many times the bytes of its code weights may take, beyond `SMALL`."""
SMALL = 64 << 20
"""Bytes of weights that any code may decode to."""

_TYPES = {
    **{name: np.dtype(name) for name in ("bool", "float16", "float32", "float64")},
    **{
        f"{sign}int{bits}": np.dtype(f"{sign}int{bits}")
        for sign in ("", "u")
        for bits in (8, 16, 32, 64)
    },
    **{
        name: np.dtype(getattr(ml_dtypes, name))
        for name in ("bfloat16", "float8_e4m3fn", "float8_e5m2")
    },
}
_PARTS = ("positions", "codebook", "scales", "symbols")  # In the order of their streams.
_CODEBOOK = 256  # Values that an index of one byte tells apart.
_SKIP = 255  # The byte for as many zeros and no number.
_GAPS = 1 << 16  # That are added up at once.
_SHORT = 1 << 20  # Bytes of a stream that is packed in every way.
_SAMPLE = 4096  # Numbers whose different values say whether all are worth counting.
_MOST_AXES = 32


@dataclasses.dataclass(frozen=True)
class CodedBytes:
    """Where the bytes of one coded array go.

    Attributes:
        positions: Bytes for where its numbers lie that are not zero.
        codebook: Bytes of its different values, or of the scales of its signs.
        symbols: Bytes of the numbers, of their indices in the codebook, or of their signs.
    """

    positions: int
    codebook: int
    symbols: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.positions + self.codebook + self.symbols


def encode(array: np.ndarray, sparse: bool = True) -> tuple[Coded, bytes]:
    """Returns how an array is coded, and its code.

    Args:
        array: Of any shape, of one of Keras's types.
        sparse: Whether zeros may be left out, and repetitions be told as such; else an array takes
            less than `LARGEST_RATIO` times the bytes of its code.

    Returns:
        A dictionary that JSON holds: the type, the shape, and of each stream (whether it is
        Huffman-coded, its bytes in the code, its bytes decoded); and the streams, one after the
        other.

    Raises:
        ValueError: If the array is of another type.
    """
    name = array.dtype.name
    if name not in _TYPES:
        raise ValueError(f"Expected weights of one of Keras's types. Received: {name}")
    bits = _bits_of(np.asarray(array, _TYPES[name]))
    ways = [_values(bits, sparse), *_scaled_signs(bits, array.shape, sparse)]
    if sparse and bits.size and not bits.all():
        positions = np.flatnonzero(bits)
        ways.append({"positions": [_stream(_gaps(positions))], **_values(bits[positions])})
    best = min(ways, key=_size)
    coded = {part: [header for header, _ in streams] for part, streams in best.items()}
    code = b"".join(code for streams in best.values() for _, code in streams)
    return {"dtype": name, "shape": list(array.shape), **coded}, code


def negative_zeros(array: np.ndarray) -> np.ndarray:
    """Returns where an array is -0.0, booleans of its shape."""
    if array.dtype.kind in "biu":
        return np.zeros(array.shape, bool)
    sign = 1 << (8 * array.itemsize - 1)
    return array.view(f"u{array.itemsize}") == sign  # A comparison of floats warns of some NaNs.


def bytes_of(coded: Coded) -> CodedBytes:
    """Returns how many bytes of code an array has, by what they say."""
    positions, codebook, scales, symbols = (
        sum(stored for _, stored, _ in coded.get(part, ())) for part in _PARTS
    )
    return CodedBytes(positions, codebook + scales, symbols)


def _bits_of(array: np.ndarray) -> np.ndarray:
    """The numbers of an array as unsigned integers, flat."""
    flat = np.ascontiguousarray(array).reshape(-1)
    return flat.view(f"u{array.dtype.itemsize}")


def _stream(data: bytes | np.ndarray, may_repeat: bool = True) -> tuple[list, bytes]:
    """(header, code) of bytes: Huffman-coded where that is shorter."""
    plain = bytes(data)
    code = _deflated(plain, zlib.Z_HUFFMAN_ONLY)
    # Long streams repeat themselves only where they have few different bytes.
    if may_repeat and (len(plain) <= _SHORT or len(code) < len(plain) / 5):
        code = min(code, _deflated(plain, zlib.Z_DEFAULT_STRATEGY), key=len)
    is_shorter = len(code) < len(plain)
    code = code if is_shorter else plain
    return [int(is_shorter), len(code), len(plain)], code


def _deflated(plain, strategy):
    coder = zlib.compressobj(9, zlib.DEFLATED, -15, 9, strategy)
    return coder.compress(plain) + coder.flush()


def _planes(bits, may_repeat=True):
    """The streams of the bytes of numbers, of each place on their own where that is shorter."""
    planes = bits.view("u1").reshape(-1, bits.itemsize)
    apart = [
        _stream(np.ascontiguousarray(planes[:, place]), may_repeat)
        for place in range(bits.itemsize)
    ]
    is_shorter = any(is_coded for (is_coded, *_), _ in apart)
    if is_shorter and bits.nbytes > _SHORT:
        return apart
    whole = [_stream(bits, may_repeat)]
    return min(whole, apart, key=lambda streams: sum(len(code) for _, code in streams))


def _size(way):
    """Bytes of all streams."""
    return sum(len(code) for part in way.values() for _, code in part)


def _values(bits, may_repeat=True):
    """The streams of numbers, all of which are kept."""
    ways = [{"symbols": _planes(bits, may_repeat)}]
    if len(np.unique(bits[:_SAMPLE])) <= _CODEBOOK:
        book, indices = np.unique(bits, return_inverse=True)
        if len(book) <= _CODEBOOK:
            for width in {8, _width(book)}:
                symbols = _stream(_packed(indices.reshape(-1).astype("u1"), width), may_repeat)
                ways.append({"codebook": _planes(book), "symbols": [symbols]})
    return min(ways, key=_size)


def _scaled_signs(bits, shape, may_repeat):
    """The streams of numbers that are plus or minus one number a place of the last axis, if any."""
    if len(shape) < 2 or bits.size <= shape[-1]:
        return []
    sign = bits.dtype.type(1 << (8 * bits.itemsize - 1))
    rows = bits.reshape(-1, shape[-1])
    scales = rows[0] & ~sign
    if ((rows[:2] & ~sign) != scales).any() or ((rows & ~sign) != scales).any():
        return []  # Two rows tell it of most arrays.
    signs = np.packbits(bits >= sign, bitorder="little")
    return [{"scales": _planes(scales), "symbols": [_stream(signs, may_repeat)]}]


def _width(book):
    """The bits of an index, of which a byte holds as many as fit."""
    return next(width for width in (1, 2, 4, 8) if len(book) <= 1 << width)


def _packed(indices, width):
    """Bytes of indices, the first in the lowest bits."""
    many = 8 // width
    padded = np.zeros(-(-len(indices) // many) * many, "u1")
    padded[: len(indices)] = indices
    return np.bitwise_or.reduce(padded.reshape(-1, many) << _places(width), axis=1)


def _places(width):
    return np.arange(0, 8, width, dtype="u1")


def _gaps(positions):
    """A byte for the zeros before each number, and one for every 255 of them before that."""
    zeros = np.diff(positions, prepend=-1) - 1
    skips, rest = np.divmod(zeros, _SKIP)
    gaps = np.full(len(positions) + int(skips.sum()), _SKIP, "u1")
    gaps[np.arange(len(positions)) + np.cumsum(skips)] = rest
    return gaps


def check_coded(coded: Any) -> int:
    """Returns the bytes that an array will take, if what a file says of its code makes sense.

    Args:
        coded: What the file says; from a source that need not be trusted.

    Raises:
        ValueError: If it does not; the error says in a few words why.
    """
    parts = {"dtype", "shape", *_PARTS}
    if not isinstance(coded, dict) or not {"dtype", "shape", "symbols"} <= coded.keys() <= parts:
        raise ValueError(f"{shown(coded)} in the place of a code")
    if not isinstance(coded["dtype"], str) or coded["dtype"] not in _TYPES:
        raise ValueError(f"weights of type {shown(coded['dtype'])}")
    shape = coded["shape"]
    if not _are_counts(shape) or len(shape) > _MOST_AXES:
        raise ValueError(f"weights of shape {shown(shape)}")
    size, item = math.prod(shape), _TYPES[coded["dtype"]].itemsize
    if "scales" in coded and (not size or not shape or {"positions", "codebook"} & coded.keys()):
        raise ValueError(f"{shown(sorted(coded))} in the place of signs and scales")
    most = {"positions": size, "codebook": _CODEBOOK * item, "symbols": size * item}
    most["scales"] = shape[-1] * item if shape else 0
    for part, bytes_at_most in most.items():
        streams = coded.get(part, [])
        is_list = isinstance(streams, list) and len(streams) <= (1 if part == "positions" else item)
        if not is_list or not all(_are_counts(stream) and len(stream) == 3 for stream in streams):
            raise ValueError(f"{shown(streams)} in the place of {part}")
        if sum(length for *_, length in streams) > bytes_at_most:
            raise ValueError(f"{part} of more bytes than the weights need")
    return size * item


def _are_counts(values):
    """Whether something is a list of integers of at least 0."""
    is_list = isinstance(values, list)
    return is_list and all(type(value) is int and 0 <= value < 1 << 53 for value in values)


def decode(coded: Coded, code: memoryview) -> np.ndarray:
    """Returns an array from its code, bit for bit.

    Args:
        coded: What `encode` returned first, and `check_coded` has found good.
        code: What `encode` returned second.

    Raises:
        ValueError: If the code is not what is said of it; no more memory is then taken than a few
            times what the streams hold.
    """
    streams: dict[str, list] = {}
    for part in _PARTS:
        for is_coded, stored, size in coded.get(part, ()):
            streams.setdefault(part, []).append(_decoded(is_coded, code[:stored], size))
            code = code[stored:]
    if len(code):
        raise ValueError(f"{len(code):,} bytes that belong to no stream")
    dtype, shape = _TYPES[coded["dtype"]], coded["shape"]
    size, unsigned = math.prod(shape), np.dtype(f"u{dtype.itemsize}")
    if "positions" in streams:
        (gaps,) = streams["positions"]
        bits = _numbers(streams, int(np.count_nonzero(gaps != _SKIP)), unsigned)
        bits = _spread(bits, gaps, size)
    elif "scales" in streams:
        bits = _signed(streams, size, shape[-1], unsigned)
    else:
        bits = _numbers(streams, size, unsigned)
    if dtype == np.bool_ and bits.size and bits.max() > 1:
        raise ValueError("a boolean that is neither true nor false")
    return bits.view(dtype).reshape(shape)


def _decoded(is_coded, code, size):
    """The bytes of a stream, just as many as it says."""
    if not is_coded:
        plain = code
    else:
        decoder = zlib.decompressobj(-15)
        try:
            plain = decoder.decompress(code, size + 1)
        except zlib.error as error:
            raise ValueError(f"a stream that zlib cannot decode ({error})") from error
        if not decoder.eof or decoder.unused_data:
            raise ValueError("a stream that does not end where it says")
    if len(plain) != size:
        raise ValueError(f"a stream of {len(plain):,} bytes in the place of {size:,}")
    return np.frombuffer(plain, "u1") if size else np.empty(0, "u1")


def _spread(numbers, gaps, size):
    """Numbers with the zeros between them."""
    filled, place, done = np.zeros(size, numbers.dtype), -1, 0
    for start in range(0, len(gaps), _GAPS):
        block = gaps[start : start + _GAPS]
        places = np.cumsum(block + (block != _SKIP), dtype="i8") + place
        place = int(places[-1])
        places = places[block != _SKIP]
        if len(places) and places[-1] >= size:
            raise ValueError("numbers beyond the end of the weights")
        filled[places] = numbers[done : done + len(places)]
        done += len(places)
    return filled


def _signed(streams, count, places, unsigned):
    """The numbers that scales and signs stand for, as unsigned integers."""
    scales, symbols = _joined(streams["scales"], places, unsigned), streams["symbols"]
    if len(symbols) != 1 or len(symbols[0]) != -(-count // 8):
        raise ValueError("signs that do not fit the weights")
    signs = np.unpackbits(symbols[0], count=count, bitorder="little").astype(unsigned)
    signs <<= unsigned.type(8 * unsigned.itemsize - 1)
    return (signs.reshape(-1, places) ^ scales).reshape(-1)


def _numbers(streams, count, unsigned):
    """The numbers that were kept, as unsigned integers."""
    symbols = streams.get("symbols", [])
    if "codebook" in streams:
        book = streams["codebook"]
        size = sum(map(len, book))
        return _looked_up(_joined(book, size // unsigned.itemsize, unsigned), symbols, count)
    return _joined(symbols, count, unsigned)


def _joined(streams, count, unsigned):
    """Numbers of their bytes, or of the bytes of each place on their own."""
    lengths = [len(stream) for stream in streams]
    if lengths == [count * unsigned.itemsize]:
        return streams[0].copy().view(unsigned)  # Aligned, and no part of the file.
    if lengths != [count] * unsigned.itemsize:
        raise ValueError("numbers that do not fit the weights")
    planes = np.empty((count, unsigned.itemsize), "u1")
    for place, plane in enumerate(streams):
        planes[:, place] = plane
    return planes.reshape(-1).view(unsigned)


def _looked_up(book, symbols, count):
    """The numbers that packed indices stand for."""
    if len(symbols) != 1:
        raise ValueError("indices that do not fit the weights")
    width = 8 if len(symbols[0]) == count else _width(book)
    if len(symbols[0]) != -(-count * width // 8):
        raise ValueError("indices that do not fit the weights")
    # Of each byte that there may be, the values of all indices in it.
    indices = (np.arange(256)[:, None] >> _places(width)) & ((1 << width) - 1)
    is_beyond = (indices >= len(book)).any(axis=1)
    if is_beyond[symbols[0]].any():
        raise ValueError("an index beyond the codebook")
    values = np.resize(book, 1 << width) if len(book) else np.zeros(1 << width, book.dtype)
    return values[indices][symbols[0]].reshape(-1)[:count]
