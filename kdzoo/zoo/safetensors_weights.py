"""A model's weights as a safetensors file, named by their paths; nothing in such a file can run."""

import json
import math
import os
import pathlib
from collections.abc import Collection, Set
from typing import Literal

import keras
import numpy as np
import safetensors
import safetensors.numpy

from kdzoo.graph.adapted_layers import finalize_states
from kdzoo.graph.keras_internals import current_scope, flatten_layers
from kdzoo.utils import (
    check_choice,
    check_path,
    check_text,
    first_line,
    read_bytes,
    shown,
    unknown_name,
    write_bytes,
)
from kdzoo.utils.hashed_json import digest
from kdzoo.utils.types import PathLike
from kdzoo.zoo.packed_signs import SIGNS, packed, unpacked

Dtype = Literal["float32", "float16", "binary"]

_SHOWN = 3  # Names that an error lists.


def save_weights(model: keras.Model, path: PathLike, dtype: Dtype = "float32") -> tuple[str, int]:
    """Writes the weights of a built model to a safetensors file, named by their paths.

    Args:
        model: The built `keras.Model`.
        path: Where the file goes. The file is written whole or not at all.
        dtype: `"float32"` for the values as they are, or `"float16"` to store floating-point
            weights of two dimensions and more in half the bytes. Vectors keep their type, and so
            does a weight whose largest absolute value is above 65504 or below 6.1e-5, where
            float16 overflows or loses digits. `"binary"` for a bit a number of weights of two
            dimensions and more that are ±s, with one s for each output, such as those of
            `kdzoo.compression.strip_binarization`, bit for bit; others stay as they are.

    Returns:
        (SHA-256 in hexadecimal, bytes) of the file.

    Raises:
        ValueError: If `dtype` is none of these, the model is not built, a weight is not finite, two
            weights have one path, or no weight is binary that shall be.

    Example:

    ```python
    kdzoo.zoo.save_weights(model, "student.safetensors", dtype="float16")
    kdzoo.zoo.load_weights(model, "student.safetensors")
    ```
    """
    content = to_bytes(model, dtype)
    write_bytes(path, content)
    return digest(content), len(content)


def to_bytes(model: keras.Model, dtype: Dtype = "float32") -> bytes:
    """Returns the content of the file that `save_weights` writes.

    Args:
        model: The built `keras.Model`.
        dtype: `"float32"` for the values as they are, `"float16"` for half the bytes where float16
            holds the values, or `"binary"` for a bit a number of weights that are ±s.

    Raises:
        ValueError: If `dtype` is none of these, the model is not built, a weight is not finite, two
            weights have one path, or no weight is binary that shall be.
    """
    check_choice("dtype", dtype, ("float32", "float16", "binary"))
    tensors: dict[str, np.ndarray] = {}
    for key, variable in named_weights(model).items():
        tensor = keras.ops.convert_to_numpy(variable)
        if tensor.dtype.name == "bfloat16":  # The NumPy format of safetensors has no bfloat16.
            tensor = tensor.astype("float32")
        if np.issubdtype(tensor.dtype, np.floating) and not np.isfinite(tensor).all():
            raise ValueError(f"Expected finite weights in {model.name!r}. Received: {key!r}")
        tensor = np.asarray(_halved(tensor) if dtype == "float16" else tensor, order="C")
        tensors.update(packed(key, tensor) if dtype == "binary" else {key: tensor})
    if dtype == "binary" and not any(key.endswith(SIGNS) for key in tensors):
        raise ValueError(
            "Expected a model with binary weights, such as `strip_binarization` returns, for "
            f"dtype='binary'. Received: {model.name!r}, without one"
        )
    return safetensors.numpy.save(tensors)


def _halved(tensor):
    """Returns the tensor in float16 if it is a matrix or more of floats that float16 can hold."""
    if tensor.ndim < 2 or not np.issubdtype(tensor.dtype, np.floating):
        return tensor
    largest, limits = np.abs(tensor).max(initial=0), np.finfo("float16")
    fits = largest == 0 or limits.smallest_normal <= largest <= limits.max
    return tensor.astype("float16") if fits else tensor


def load_weights(
    model: keras.Model,
    content: PathLike | bytes | bytearray | memoryview,
    name: str | None = None,
    left_out: str | Collection[str] | None = (),
) -> None:
    """Assigns the weights of a safetensors file to a model: all of them or, on an error, none.

    Args:
        model: The built `keras.Model`.
        content: The file: its path or its bytes.
        name: What errors call the file; None for its path, or "weights" if its bytes are given.
        left_out: Names of layers that keep the weights they have, such as a fresh head: one
            name, or any collection of names.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no safetensors file, a layer that is left out does not exist, or a
            weight is missing, left over, not finite, or of another shape or type.

    Example:

    ```python
    student = kdzoo.create("separable_050", classes=7)
    kdzoo.zoo.load_weights(student, "student.safetensors", left_out="logits")
    ```
    """
    if not isinstance(content, str | os.PathLike | bytes | bytearray | memoryview):
        raise ValueError(f"Expected the path or the bytes of a file. Received: {shown(content)}")
    name = None if name is None else check_text("name", name)
    variables = named_weights(model)
    excluded = _layer_names(left_out)
    if isinstance(content, str | os.PathLike):
        name = str(content) if name is None else name
        content = _read(check_path("content", content), model)
    content, name = bytes(content), "weights" if name is None else name
    layers = {key.split("/")[0] for key in variables}
    for layer in excluded:
        if layer not in layers:
            raise unknown_name("layer with weights", layer, layers)
    variables = _without(variables, excluded)
    shapes = {key: variable.shape for key, variable in variables.items()}
    tensors = unpacked(_without(_parsed(content, name), excluded), shapes, name)
    _check_names(variables, tensors, name, model.name)
    values = {key: _value(key, tensors[key], variables[key], name) for key in variables}
    for key, variable in variables.items():
        assign(variable, values.pop(key))
    finalize_states(model)


def _layer_names(left_out):
    """Returns the names of the layers that are left out as a tuple; None is no layer."""
    names = [left_out] if isinstance(left_out, str) else left_out
    if names is None:
        return ()
    is_collection = isinstance(names, list | tuple | Set)
    if not is_collection or not all(isinstance(name, str) for name in names):
        raise ValueError(
            "Expected left_out to be a list, or another collection, of names of layers. Received: "
            f"left_out={shown(names)}"
        )
    return tuple(names)


def _without(by_path, layers):
    """Returns the items of a dictionary by path that belong to none of the layers."""
    return {key: value for key, value in by_path.items() if key.split("/")[0] not in layers}


def _value(key, tensor, variable, name):
    """Returns a tensor of the file in the type of its variable; raises unless it fits."""
    dtype = keras.backend.standardize_dtype(variable.dtype)
    if tuple(tensor.shape) != tuple(variable.shape):
        raise ValueError(
            f"Expected {key!r} of {name} to have the shape {tuple(variable.shape)}. Received: "
            f"{tuple(tensor.shape)}"
        )
    if tensor.dtype.name not in ((dtype, "float16", "float32") if "float" in dtype else (dtype,)):
        raise ValueError(f"Expected {key!r} of {name} to be {dtype}. Received: {tensor.dtype.name}")
    with np.errstate(over="ignore"):
        value = tensor if dtype == "bfloat16" else tensor.astype(dtype, copy=False)
    if "float" in dtype and not np.isfinite(value).all():
        raise ValueError(
            f"Expected finite values in {key!r} of {name}. Received: NaN, inf or more than "
            f"{dtype} can hold."
        )
    return value


def assign(variable: keras.Variable, value: np.ndarray) -> None:
    """Assigns a value; within a scope that defers, the array itself instead of a copy."""
    scope = current_scope()
    if scope is None or value.dtype.name != variable.dtype:
        variable.assign(value)
    else:
        scope.add_update((variable, value))


def named_weights(model: keras.Model) -> dict[str, keras.Variable]:
    """Returns the weights of a built model by path: names of layers, outermost first, and weight.

    The path of a weight depends on the names alone, however the model was built or loaded, unlike
    Keras's own `variable.path`.

    Args:
        model: The `keras.Model`.

    Returns:
        Path, e.g. `"block/conv/kernel"` -> `keras.Variable`.

    Raises:
        ValueError: If the model is not built, or two of its weights have one path.
    """
    if not isinstance(model, keras.Model):
        raise ValueError(
            f"Expected a keras.Model. Received: {shown(model)} of type {type(model).__name__}"
        )
    if not model.built:
        raise ValueError(
            f"Expected a model that is built; call it on a batch first. Received: {model.name!r}"
        )
    named: dict[str, keras.Variable] = {}
    for path, variable in _walk(model, (), set()):
        key = "/".join((*path, variable.name))
        if key in named:
            raise ValueError(
                "Expected every weight to have a path of its own, since files name them so; give "
                f"layers and weights different names. Received: two weights {key!r}"
            )
        named[key] = variable
    return named


def _walk(layer, path, seen):
    """Yields (names of layers, variable) of every weight once, those of inner layers first."""
    for inner in flatten_layers(layer, include_self=False, recursive=False):
        yield from _walk(inner, (*path, inner.name), seen)
    for variable in layer.weights:
        if id(variable) not in seen:
            seen.add(id(variable))
            yield path, variable


def _read(path: pathlib.Path, model: keras.Model) -> bytes:
    """Returns the content of a file that is not much larger than the model's weights."""
    needed = sum(math.prod(weight.shape) for weight in model.weights)
    most = (64 << 20) + 16 * needed  # A layer that is left out may be larger in the file.
    try:
        return read_bytes(path, most)
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(
            f"Expected a safetensors file in {path}. Received: none there."
        ) from None


def _parsed(content, name):
    """Returns path -> array of a safetensors file; the arrays are views of its content."""
    try:
        copies = safetensors.numpy.load(content)  # Checks the file; the copies are dropped.
        length = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + length])
        return {
            key: np.frombuffer(
                content, array.dtype, array.size, 8 + length + header[key]["data_offsets"][0]
            ).reshape(array.shape)
            if array.size
            else array
            for key, array in copies.items()
        }
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"Expected {name} to be a safetensors file. Received: {_format(content)} "
            f"({first_line(error)})"
        ) from error


def _format(content):
    """Returns what a file seems to be that is no safetensors file, for an error."""
    if not content:
        return "an empty file"
    if content.startswith(b"\x89HDF"):
        return "an HDF5 file"
    if content.startswith(b"PK"):
        return "a ZIP file, as `.keras` and PyTorch files are"
    if content.startswith(b"\x80"):
        return "a pickle, which is never opened"
    return f"{len(content):,} bytes, damaged or of another format"


def _check_names(variables, tensors, name, model):
    """Raises unless the file has exactly the weights of the model."""
    missing, extra = variables.keys() - tensors.keys(), tensors.keys() - variables.keys()
    if missing or extra:
        parts = [f"without {_listed(missing)}"] if missing else []
        parts += [f"with {_listed(extra)}, which the model does not have"] if extra else []
        raise ValueError(
            f"Expected {name} to hold the {len(variables)} weights of {model!r}. Received: a file "
            f"of {len(tensors)}, {', '.join(parts)}"
        )


def _listed(names):
    listed = ", ".join(map(repr, sorted(names)[:_SHOWN]))
    return listed if len(names) <= _SHOWN else f"{listed} and {len(names) - _SHOWN} more"
