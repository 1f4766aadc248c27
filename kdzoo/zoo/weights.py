"""A model's weights as a safetensors file: by name, checked before they are used, nothing runs."""

import contextlib
import json
import math
import os
import pathlib

import numpy as np

from kdzoo.graph.keras_internals import (
    begin_with,
    current_scope,
    flatten_layers,
    set_waiting_variables,
    waiting_variables,
)
from kdzoo.graph.states import finalize_states
from kdzoo.utils import (
    check_choice,
    check_path,
    check_regular,
    check_text,
    read_bytes,
    shown,
    unknown_name,
    write_bytes,
)
from kdzoo.utils.hashed_json import digest

_SHOWN = 3  # Names that an error lists.


def save_weights(model, path, dtype="float32"):
    """Writes the weights of a built model to a safetensors file, named by their paths.

    Args:
        model: The built `keras.Model`.
        path: Where the file goes, whole or not at all.
        dtype: `"float32"` for the values as they are, or `"float16"` for floating-point weights of
            two dimensions and more in half the bytes. Vectors stay, and so does a weight whose
            largest value is above 65504 or below 6.1e-5, where float16 has fewer digits or none.

    Returns:
        (sha256 in hexadecimal, bytes) of the file.

    Raises:
        ValueError: If `dtype` is another, the model is not built, a weight is not finite, or two
            share a path.
    """
    content = to_bytes(model, dtype)
    write_bytes(path, content)
    return digest(content), len(content)


def to_bytes(model, dtype="float32"):
    """Returns the content of the file that `save_weights` writes.

    Args:
        model: As there.
        dtype: As there.
    """
    import keras
    from safetensors.numpy import save

    check_choice("dtype", dtype, ("float32", "float16"))
    tensors = {}
    for key, variable in named_weights(model).items():
        tensor = keras.ops.convert_to_numpy(variable)
        if tensor.dtype.name == "bfloat16":  # NumPy has none of its own.
            tensor = tensor.astype("float32")
        if np.issubdtype(tensor.dtype, np.floating) and not np.isfinite(tensor).all():
            raise ValueError(f"Expected finite weights in {model.name!r}. Received: {key!r}")
        tensors[key] = np.asarray(_halved(tensor) if dtype == "float16" else tensor, order="C")
    return save(tensors)


def check_within(path, home):
    """Raises `ValueError` if a path leads out of a directory once links are followed."""
    if pathlib.Path(home).resolve() not in pathlib.Path(path).resolve().parents:
        raise ValueError(
            f"Expected {path.name!r} to lie in {home}. Received: a link to a file elsewhere."
        )


def read_checked(path, sha256, size):
    """Returns the content of a file, if it is the one that was meant.

    Args:
        path: The file.
        sha256: Its hash in hexadecimal.
        size: Its number of bytes.

    Raises:
        FileNotFoundError: If it is missing.
        ValueError: If it is a link to elsewhere, or size or hash are others.
    """
    path = pathlib.Path(path)
    home = path.parent
    try:
        check_regular(path)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"Expected the file {path.name!r} in {home}. Received: none there; fetch it again."
        ) from None
    check_within(path, home)
    found = os.path.getsize(path)
    if found != size:
        kind = "truncated" if found < size else "another file or altered"
        raise ValueError(
            f"Expected {path} to have {size:,} bytes. Received: {found:,} bytes, the file "
            f"is {kind}; fetch it again."
        )
    content = read_bytes(path, size)
    if digest(content) != sha256:
        raise ValueError(
            f"Expected {path} to have the SHA-256 {sha256[:12]}... Received: another, the "
            "file was altered; fetch it again."
        )
    return content


def load_weights(model, content, name=None, left_out=()):
    """Gives a model the weights of a safetensors file; all of them or, where one is wrong, none.

    Args:
        model: The built `keras.Model`.
        content: The file: its path or its bytes.
        name: What errors call the file; its path, or "weights", when None.
        left_out: Layers, by name, that keep what they have, as a fresh head does; a list, or one
            name.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no safetensors file, a layer that is left out is not there, or a weight
            is missing, left over, not a number, or of another shape or kind.
    """
    import keras

    if not isinstance(content, str | os.PathLike | bytes | bytearray | memoryview):
        raise ValueError(f"Expected the path or the bytes of a file. Received: {shown(content)}")
    name = None if name is None else check_text("name", name)
    variables = named_weights(model)
    left_out = _checked_names(left_out)
    if isinstance(content, str | os.PathLike):
        name = str(content) if name is None else name
        content = _read(check_path("content", content), model)
    content, name = bytes(content), "weights" if name is None else name
    layers = {key.split("/")[0] for key in variables}
    for layer in left_out:
        if layer not in layers:
            raise unknown_name("layer with weights", layer, layers)
    variables = {
        key: variable for key, variable in variables.items() if key.split("/")[0] not in left_out
    }
    tensors = {
        key: tensor
        for key, tensor in _parsed(content, name).items()
        if key.split("/")[0] not in left_out
    }
    _check_names(variables, tensors, name, model.name)
    values = {}
    for key, variable in variables.items():
        tensor, kind = tensors[key], keras.backend.standardize_dtype(variable.dtype)
        if tuple(tensor.shape) != tuple(variable.shape):
            raise ValueError(
                f"Expected {key!r} of {name} to have the shape {tuple(variable.shape)}. Received: "
                f"{tuple(tensor.shape)}"
            )
        if tensor.dtype.name not in ((kind, "float16", "float32") if "float" in kind else (kind,)):
            raise ValueError(
                f"Expected {key!r} of {name} to be {kind}. Received: {tensor.dtype.name}"
            )
        with np.errstate(over="ignore"):
            value = tensor if kind == "bfloat16" else tensor.astype(kind, copy=False)
        if "float" in kind and not np.isfinite(value).all():
            raise ValueError(
                f"Expected finite values in {key!r} of {name}. Received: NaN, inf or more than "
                f"{kind} can hold."
            )
        values[key] = value
    for key, variable in variables.items():
        _assign(variable, values.pop(key))
    finalize_states(model)


def _assign(variable, value):
    """Gives a variable a value; within a scope that defers, the array itself instead of a copy."""
    scope = current_scope()
    if scope is None or value.dtype.name != variable.dtype:
        variable.assign(value)
    else:
        scope.add_update((variable, value))


def _checked_names(layers):
    """The names of layers as a tuple; of None and of one name too."""
    layers = [layers] if isinstance(layers, str) else layers
    if layers is None:
        return ()
    if not isinstance(layers, list | tuple) or not all(isinstance(name, str) for name in layers):
        raise ValueError(
            f"Expected left_out to be a list of names of layers. Received: left_out={shown(layers)}"
        )
    return tuple(layers)


def built_from(build, content, name, left_out=()):
    """Returns a model that is built with weights of a file, without values of its own before.

    So drawing random values, which would take longer than all else, is left out; and a model that
    the file does not fit is refused before anything of its size is made.

    Args:
        build: Function that builds the model.
        content: The bytes of the file, as in `load_weights`, like the others.
        name: As there.
        left_out: As there.

    Raises:
        ValueError: As there.
    """
    with _deferring() as scope:
        model = build()
        load_weights(model, content, name, left_out)
        _start_from_assigned(model, scope)
    return model


@contextlib.contextmanager
def _deferring():
    """A scope at whose end variables get their first values; none keep waiting if it fails."""
    import keras

    before = waiting_variables()

    @contextlib.contextmanager
    def forgetting():
        try:
            yield
        except BaseException:
            set_waiting_variables(before)  # Keras would try again for ever.
            raise

    # Within the scope, whose end gives values to all that wait; and where just that fails.
    with forgetting(), keras.StatelessScope() as scope, forgetting():
        yield scope


def _start_from_assigned(model, scope):
    """Lets variables that a scope defers begin with what was assigned within it.

    Drawing random values first would take longer than all else in loading.
    """
    for variable in model.variables:
        value = scope.get_current_value(variable)
        if value is not None:
            begin_with(variable, value)
    scope.state_mapping.clear()  # So that a value goes once its variable has it.


def named_weights(model):
    """Returns path -> variable of a built model: names of layers, outermost first, and of weights.

    A layer's path is the same however its model was built or loaded, which Keras's own
    `variable.path` is not.

    Args:
        model: The `keras.Model`.

    Raises:
        ValueError: If it is not built, or two of its weights share a path.
    """
    import keras

    if not isinstance(model, keras.Model):
        raise ValueError(
            f"Expected a keras.Model. Received: {shown(model)} of type {type(model).__name__}"
        )
    if not model.built:
        raise ValueError(
            f"Expected a model that is built; call it on a batch first. Received: {model.name!r}"
        )
    named = {}
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
    """Yields (names of layers, variable) of each weight once, those of inner layers first."""
    for inner in flatten_layers(layer, include_self=False, recursive=False):
        yield from _walk(inner, (*path, inner.name), seen)
    for variable in layer.weights:
        if id(variable) not in seen:
            seen.add(id(variable))
            yield path, variable


def _read(path, model):
    """The content of a file that is no larger than one of a model's weights may be."""
    needed = sum(math.prod(weight.shape) for weight in model.weights)
    most = (64 << 20) + 16 * needed  # Other layers may have been larger; names come on top.
    try:
        return read_bytes(path, most)
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(
            f"Expected a safetensors file in {path}. Received: none there."
        ) from None


def _parsed(content, name):
    """Path -> array of a safetensors file, which is a view of its content."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        checked = load(content)  # Copies, which are let go.
        length = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + length])
        return {
            name: np.frombuffer(
                content, each.dtype, each.size, 8 + length + header[name]["data_offsets"][0]
            ).reshape(each.shape)
            if each.size
            else each
            for name, each in checked.items()
        }
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"Expected {name} to be a safetensors file. Received: {_what_it_is(content)} "
            f"({error or type(error).__name__})"
        ) from error


def _what_it_is(content):
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
    missing, extra = variables.keys() - tensors.keys(), tensors.keys() - variables.keys()
    if missing or extra:
        parts = [f"without {_listed(missing)}"] if missing else []
        parts += [f"with {_listed(extra)}, which the model has not"] if extra else []
        raise ValueError(
            f"Expected {name} to hold the {len(variables)} weights of {model!r}. Received: a file "
            f"of {len(tensors)}, {', '.join(parts)}"
        )


def _listed(names):
    shown = ", ".join(map(repr, sorted(names)[:_SHOWN]))
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"


def _halved(tensor):
    """The tensor in float16, if it is a matrix or more of floats that float16 can hold."""
    if tensor.ndim < 2 or not np.issubdtype(tensor.dtype, np.floating):
        return tensor
    largest, limits = np.abs(tensor).max(initial=0), np.finfo("float16")
    fits = largest == 0 or limits.smallest_normal <= largest <= limits.max
    return tensor.astype("float16") if fits else tensor
