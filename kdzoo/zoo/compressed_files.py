"""A model as one `.kdz` file: its configuration, and its weights in as few bytes, bit for bit.

The file begins with 60 bytes: what it is, its version, its size, the size of its index, and the
SHA-256 of all but that hash. The index is JSON, deflated with a dictionary of what it usually says:
the configuration of the model, and how each weight is coded. The codes follow in its order. A
reader compares size and hash before it looks at anything else, and believes nothing that the index
says.
"""

import hashlib
import json
import os
import struct
import zlib
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from kdzoo.compression.huffman_coding import (
    LARGEST_RATIO,
    SMALL,
    Coded,
    bytes_of,
    check_coded,
    decode,
    encode,
    negative_zeros,
)
from kdzoo.graph.adapted_layers import finalize_states
from kdzoo.utils import (
    check_flag,
    check_path,
    check_regular,
    naming,
    read_bytes,
    shown,
    write_bytes,
)
from kdzoo.utils.types import PathLike
from kdzoo.zoo.allowed_layers import check_parts
from kdzoo.zoo.building import build_and_fill
from kdzoo.zoo.compressed_report import CompressedFile, row_of
from kdzoo.zoo.file_formats import COMPRESSED
from kdzoo.zoo.keras_zip_checks import checked_config
from kdzoo.zoo.model_configs import (
    built_again,
    check_has_graph,
    check_keeps_weights_only,
    deserialized,
    serialized,
    without_compilation,
)
from kdzoo.zoo.safetensors_weights import assign, named_weights
from kdzoo.zoo.usual_index import USUAL

_VERSION = 1
_START = struct.Struct("<8sIQQ")  # What it is, version, bytes of the file, bytes of the index.
_HASH = 32  # Bytes.
_MOST_INDEX = 32 << 20  # Bytes of the index.


def save_compressed(
    model: keras.Model, path: PathLike, *, keep_negative_zeros: bool = True
) -> CompressedFile:
    """Saves a model as a `.kdz` file, its weights in as few bytes, bit for bit.

    Zeros are left out, a weight of 256 different values or fewer becomes a codebook and an index a
    number, a binary one a bit a number and its scales, and all of it is Huffman-coded, each weight
    in the way that takes the fewest bytes.
    So a network that was pruned and clustered shrinks to what its zeros and clusters are worth, and
    any other by the few bits that its exponents have in common. What was written is read back and
    compared before the file takes its place.

    Args:
        model: A functional or sequential `keras.Model` of Keras's own layers, or of layers that
            are registered with `keras.saving.register_keras_serializable` here and where the model
            is loaded. Before saving a model that is being compressed, call `strip_pruning`,
            `strip_clustering`, `strip_binarization`, `strip_masks`, `strip_shared_weights` or
            `plain_model()`.
        path: Where the file goes, whole or not at all.
        keep_negative_zeros: Whether -0.0 stays -0.0. A mask leaves it where it multiplies a
            negative weight by zero, as TF-MOT's pruning does, and it costs as much as any other
            number. False makes it 0.0, which is all that changes.

    Returns:
        A `CompressedFile`, which says of each weight where its bytes go.

    Raises:
        ValueError: If the model is subclassed or not built; a layer runs code, opens files, cannot
            be serialized, keeps more than weights with methods of its own, or makes weights only
            when it is called; or the path is a directory. Nothing is written then.

    Example:

    ```python
    report = kdzoo.save_compressed(student, "student.kdz")
    print(report)
    student = kdzoo.load_compressed("student.kdz")
    ```

    Reference: Han, Mao & Dally, "Deep Compression", 2016, arXiv:1510.00149. Its gaps have 5 or 8
    bits, here 8; its codes are of one Huffman tree a layer, here those of zlib, a tree a block.
    """
    check_has_graph(model)
    path = check_path("path", path)
    if path.is_dir():
        raise ValueError(f"Expected the path of a file. Received: {path}, a directory")
    config = serialized(model)
    check_parts(config)
    check_flag("keep_negative_zeros", keep_negative_zeros)
    check_keeps_weights_only(model)
    arrays = {
        name: _array(variable, keep_negative_zeros)
        for name, variable in named_weights(model).items()
    }
    content, codes = _to_bytes(config, arrays)
    again = _weights(_parsed(content, path)[1], content, path)
    for name, array in arrays.items():
        if again[name].tobytes() != array.tobytes():
            raise RuntimeError(f"Expected {name!r} to be decoded as it was. Received: another")
    build_and_fill(lambda: built_again(model, config), lambda made: _fill(made, again, path))
    write_bytes(path, content)
    rows = tuple(row_of(name, arrays[name], coded) for name, coded in codes.items())
    return CompressedFile(str(path), rows, len(content) - sum(row.bytes for row in rows))


def load_compressed(path: PathLike) -> keras.Model:
    """Returns the model of a `.kdz` file, which may come from anybody.

    No code in the file runs: its configuration may name only Keras's own layers and those that
    this process has registered, and its weights are numbers. Its size and its hash are compared
    before anything is built.

    Args:
        path: The file.

    Returns:
        A `keras.Model`, not compiled, whose weights are bit for bit those that were saved.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no `.kdz` file, was truncated or altered, comes from a newer kdzoo,
            names a layer that runs code, opens files or is not known here, has weights that do not
            fit its layers, or weights that take a thousand times its bytes and more than 64 MiB.

    Example:

    ```python
    student = kdzoo.load_compressed("student.kdz")
    ```
    """
    path = check_path("path", path)
    check_regular(path)
    content = read_bytes(path, os.path.getsize(path))
    config, codes = _parsed(content, path)
    try:
        check_parts(config)
    except ValueError as error:
        raise naming(path, error) from error
    arrays = _weights(codes, content, path)
    return build_and_fill(
        lambda: deserialized(config, path), lambda model: _fill(model, arrays, path)
    )


def weights_of_compressed(content: bytes, name: str) -> dict[str, np.ndarray]:
    """Returns path -> array of the weights in a `.kdz` file, for a model that code builds.

    Args:
        content: The bytes of the file.
        name: What errors call it.

    Raises:
        ValueError: If it is no `.kdz` file, or was truncated or altered.
    """
    return _weights(_parsed(content, name)[1], content, name)


def _array(variable, keep_negative_zeros):
    """The value of a variable, perhaps without -0.0."""
    array = keras.ops.convert_to_numpy(variable)
    if keep_negative_zeros:
        return array
    return np.where(negative_zeros(array), array.dtype.type(0), array)


def _to_bytes(
    config: dict[str, Any], arrays: Mapping[str, np.ndarray]
) -> tuple[bytes, dict[str, Coded]]:
    """The content of a file, and how each weight is coded in it."""
    plain = sum(array.nbytes for array in arrays.values())
    for sparse in (True, False):  # Weights may be so empty that a reader would not believe them.
        coded = {name: encode(array, sparse) for name, array in arrays.items()}
        codes = {name: header for name, (header, _) in coded.items()}
        index = {"class_name": "kdz", "model": config, "weights": codes}
        packer = zlib.compressobj(9, zdict=USUAL)
        text = json.dumps(index, separators=(",", ":")).encode()
        packed = packer.compress(text) + packer.flush()
        body = packed + b"".join(code for _, code in coded.values())
        size = _START.size + _HASH + len(body)
        if _is_believed(plain, size):
            break
    start = _START.pack(COMPRESSED, _VERSION, size, len(packed))
    return start + _hash(start, body) + body, codes


def _is_believed(plain, size):
    """Whether weights of so many bytes are decoded from a file of a size."""
    return plain <= SMALL + LARGEST_RATIO * size


def _hash(start, body):
    hashed = hashlib.sha256(start)
    hashed.update(body)
    return hashed.digest()


def _parsed(content, path):
    """The configuration in a file, and how its weights are coded, after comparing its hash."""
    packed = _checked(memoryview(content), path)
    try:
        unpacker = zlib.decompressobj(zdict=USUAL)
        unpacked = unpacker.decompress(packed, _MOST_INDEX + 1)
        if not unpacker.eof or unpacker.unused_data or unpacker.unconsumed_tail:
            raise ValueError("an index that does not end")
        index = checked_config(unpacked, "file index")
        config, codes = index.get("model"), index.get("weights")
        if not isinstance(config, dict) or not isinstance(codes, dict):
            raise ValueError("an index of no model")
        plain = sum(map(check_coded, codes.values()))
        if not _is_believed(plain, len(content)):
            raise ValueError(f"weights of {plain:,} bytes in {len(content):,}")
    except (zlib.error, ValueError) as error:
        raise _refused(path, str(error)) from error
    return without_compilation(config), codes


def _checked(content, path):
    """The index of a file, packed, if the file is whole."""
    if len(content) < _START.size + _HASH or content[: len(COMPRESSED)] != COMPRESSED:
        what = f"{len(content):,} bytes of another format" if len(content) else "an empty file"
        raise _refused(path, what)
    _, version, size, index = _START.unpack(content[: _START.size])
    if version != _VERSION:
        raise _refused(path, f"version {version}, which another kdzoo wrote; update kdzoo")
    if size != len(content):
        reason = "truncated" if len(content) < size else "another file or altered"
        raise _refused(path, f"{len(content):,} bytes of {size:,}, it is {reason}; fetch it again")
    start, body = content[: _START.size], content[_START.size + _HASH :]
    if _hash(start, body) != content[_START.size : _START.size + _HASH]:
        raise _refused(path, "one that was altered, by its SHA-256; fetch it again")
    return body[:index]


def _refused(path, reason):
    return ValueError(f"Expected a .kdz file of a model. Received: {path}, with {reason}")


def _weights(codes: Mapping[str, Coded], content: bytes, path: PathLike) -> dict[str, np.ndarray]:
    """Path -> array of the weights in a file whose index was checked."""
    *_, index = _START.unpack(content[: _START.size])
    rest = memoryview(content)[_START.size + _HASH + index :]
    arrays = {}
    for name, coded in codes.items():
        size = bytes_of(coded).total
        try:
            arrays[name] = decode(coded, rest[:size])
        except ValueError as error:
            raise _refused(path, f"{shown(name)}, {error}") from error
        rest = rest[size:]
    if len(rest):
        raise _refused(path, f"{len(rest):,} bytes that belong to no weight")
    return arrays


def _fill(model, arrays, path):
    """Assigns weights to the variables that they are named by, or raises unless all fit."""
    variables = named_weights(model)
    differing = sorted(variables.keys() ^ arrays.keys())
    if differing:
        where = "the weights" if differing[0] in arrays else "the layers"
        raise _refused(path, f"{shown(differing[0])} among {where} alone")
    for name, variable in variables.items():
        found, wanted = arrays[name], (tuple(variable.shape), str(variable.dtype))
        if (found.shape, found.dtype.name) != wanted:
            raise _refused(
                path,
                f"{shown(name)} of shape {found.shape} and type {found.dtype.name}, where a layer "
                f"has {wanted[0]} and {wanted[1]}",
            )
        assign(variable, found)
    finalize_states(model)
