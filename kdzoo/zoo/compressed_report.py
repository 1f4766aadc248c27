"""What a `.kdz` file costs: where the bytes of each weight go."""

import dataclasses
import gzip

import numpy as np

from kdzoo.compression.huffman_coding import Coded, bytes_of, negative_zeros
from kdzoo.utils import heavy_libraries


@dataclasses.dataclass(frozen=True)
class CompressedWeight:
    """Where the bytes of a weight go in a `.kdz` file.

    Attributes:
        path: Its name after those of its layers, joined by "/".
        shape: Its shape.
        dtype: The name of its type.
        plain: Bytes of its numbers as they are.
        gzipped: Bytes of them as gzip packs them.
        zstd: Bytes of them as zstd packs them; None where `zstandard` is not installed.
        positions: Bytes in the file for where its numbers lie that are not zero; 0 where zeros are
            coded as other numbers.
        codebook: Bytes in the file of its different values, or of the scales of its signs; 0 where
            it has none.
        symbols: Bytes in the file of the numbers, of their indices in the codebook, or of their
            signs.
        negative_zeros: How many of its numbers are -0.0, which is not coded as a zero.
    """

    path: str
    shape: tuple[int, ...]
    dtype: str
    plain: int
    gzipped: int
    zstd: int | None
    positions: int
    codebook: int
    symbols: int
    negative_zeros: int

    @property
    def bytes(self) -> int:
        """All its bytes in the file."""
        return self.positions + self.codebook + self.symbols


@dataclasses.dataclass(frozen=True)
class CompressedFile:
    """What `save_compressed` wrote.

    Attributes:
        path: The file.
        weights: Where the bytes of each weight go.
        index: Bytes of the rest: of the configuration, of what tells how weights are coded, and of
            the hash.
    """

    path: str
    weights: tuple[CompressedWeight, ...]
    index: int

    @property
    def bytes(self) -> int:
        """Bytes of the file."""
        return self.index + sum(weight.bytes for weight in self.weights)

    @property
    def plain(self) -> int:
        """Bytes of all weights as they are."""
        return sum(weight.plain for weight in self.weights)

    @property
    def gzipped(self) -> int:
        """Bytes of all weights, each packed by gzip."""
        return sum(weight.gzipped for weight in self.weights)

    @property
    def zstd(self) -> int | None:
        """Bytes of all weights, each packed by zstd; None where `zstandard` is not installed."""
        sizes = [weight.zstd for weight in self.weights]
        known = [size for size in sizes if size is not None]
        return sum(known) if len(known) == len(sizes) else None

    def __str__(self) -> str:
        lines = [_line("weight", "plain", "gzip", "zstd", "kdz", "positions, codebook, symbols")]
        lines += [
            _line(
                *(row.path, row.plain, row.gzipped, row.zstd, row.bytes),
                f"{row.positions:,}, {row.codebook:,}, {row.symbols:,}",
            )
            for row in self.weights
        ]
        lines.append(_line("index", "", "", "", self.index, ""))
        if zeros := sum(weight.negative_zeros for weight in self.weights):
            lines.append(f"{zeros:,} numbers are -0.0: see keep_negative_zeros")
        times = f"{self.plain / self.bytes:.1f} times smaller"
        total = _line("all", self.plain, self.gzipped, self.zstd, self.bytes, times)
        return "\n".join([*lines, total])


def _line(name: str, *columns: str | int | None) -> str:
    """A line of the report; what is not known is left empty."""
    *sizes, last = ("" if size is None else size for size in columns)
    cells = [f"{size:>11,}" if isinstance(size, int) else f"{size:>11}" for size in sizes]
    return f"{name:32} {' '.join(cells)}  {last}".rstrip()


def row_of(name: str, array: np.ndarray, coded: Coded) -> CompressedWeight:
    """Returns what the report says of a weight.

    Args:
        name: Its path.
        array: Its value.
        coded: How it is coded, as `encode` returned it.
    """
    parts, pack = bytes_of(coded), heavy_libraries.zstd()
    content = array.tobytes()
    return CompressedWeight(
        path=name,
        shape=array.shape,
        dtype=array.dtype.name,
        plain=array.nbytes,
        gzipped=len(gzip.compress(content, 6, mtime=0)),
        zstd=None if pack is None else len(pack(content)),
        positions=parts.positions,
        codebook=parts.codebook,
        symbols=parts.symbols,
        negative_zeros=int(negative_zeros(array).sum()),
    )
