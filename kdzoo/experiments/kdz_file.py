"""The `.kdz` file of a stage, and what it may be made of."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kdzoo.compression.shared_weights import check_bits, check_by_layer
from kdzoo.graph.layer_chains import layers_with_kernels
from kdzoo.utils import check_fraction
from kdzoo.zoo.compressed_files import save_compressed

if TYPE_CHECKING:
    import keras


def check_settings(model: "keras.Model", sparsity: Any, bits: Any) -> None:
    """Raises `ValueError` unless `schemes.deep_compression` takes these settings of a model.

    Args:
        model: The model.
        sparsity: Path of a layer -> the fraction of zeros in its kernel.
        bits: Path of a layer -> the bits of an index.
    """
    known = layers_with_kernels(model)
    check_by_layer("sparsity", sparsity, known, check_fraction)
    check_by_layer("bits", bits, known, check_bits)


def save(model: "keras.Model", path: os.PathLike[str] | str) -> Mapping[str, Any]:
    """Saves a model as a `.kdz` file; returns what a row says of it.

    Args:
        model: The model.
        path: Where the file goes.

    Returns:
        A dictionary: `"bytes"` of the whole file; of all weights as they are, and as gzip and zstd
        pack them (zstd where it is installed), `"plain_bytes"`, `"gzip_bytes"` and `"zstd_bytes"`;
        and `"times_smaller"`, plain bytes over those of the file.
    """
    report = save_compressed(model, path)
    sizes = {
        "bytes": report.bytes,
        "plain_bytes": report.plain,
        "gzip_bytes": report.gzipped,
        "zstd_bytes": report.zstd,
        "times_smaller": report.plain / report.bytes,
    }
    return {name: size for name, size in sizes.items() if size is not None}
