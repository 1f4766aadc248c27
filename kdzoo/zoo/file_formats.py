"""What a path of a model leads to, told by its content, without Keras; else what to do about it."""

import os
import pathlib
from typing import Literal

from kdzoo.utils import check_path, open_regular
from kdzoo.utils.types import PathLike

Format = Literal["keras", "hdf5", "pretrained", "compressed"]
SUFFIXES = (".keras", ".h5", ".hdf5")
"""What the names of files end in that are opened as models of Keras; HDF5 opens under any name."""

COMPRESSED = b"\x89KDZ\r\n\x1a\n"
"""What a `.kdz` file begins with."""

_HDF5, _ZIP = b"\x89HDF\r\n\x1a\n", b"PK"
_SAVED_MODEL = ("saved_model.pb", "saved_model.pbtxt")
_REMEDIES = {
    ".tflite": "open it with `kdzoo.export.LiteRTModel`",
    ".safetensors": "it holds weights alone: build the model and call `kdzoo.zoo.load_weights`",
    ".pb": "it is part of a SavedModel or a frozen graph; save the model of Keras as `.keras`",
    ".onnx": "only models of Keras are opened",
    ".pt": "only models of Keras are opened",
    ".pth": "only models of Keras are opened",
    ".json": "it holds no weights: build the model of it, load its weights, and save it whole",
}


def is_hdf5(path: PathLike) -> bool:
    """Whether a path leads to a regular file that begins as HDF5 does."""
    path = pathlib.Path(path)
    if not path.is_file():
        return False
    with open_regular(path) as file:
        return file.read(len(_HDF5)) == _HDF5


def leads_to_model(path: PathLike) -> bool:
    """Whether a path is that of a model of Keras, which may be missing or damaged.

    Args:
        path: A directory, an HDF5 file of any name, or what ends in one of `SUFFIXES` or in `.kdz`,
            there or not.
    """
    is_named_so = pathlib.Path(path).suffix in (*SUFFIXES, ".kdz")
    return os.path.isdir(path) or is_named_so or is_hdf5(path)


def format_of(path: PathLike) -> Format:
    """Returns what a file or directory of a model is.

    Args:
        path: The file, or the directory that `save_pretrained` wrote.

    Returns:
        `"keras"`; `"hdf5"` or `"compressed"`, a `.kdz` file, whatever the name ends in; or
        `"pretrained"`.

    Raises:
        FileNotFoundError: If there is nothing.
        ValueError: If it is a SavedModel, or nothing that is opened here; the error says what to
            do.
    """
    path = check_path("path", path)
    if path.is_dir():
        check_no_saved_model(path)
        return "pretrained"
    with open_regular(path) as file:
        start = file.read(len(_HDF5))
    if start == _HDF5:
        return "hdf5"
    if start == COMPRESSED:
        return "compressed"
    if path.suffix in SUFFIXES:
        return "keras" if path.suffix == ".keras" else "hdf5"
    is_archive = start.startswith(_ZIP)
    remedy = "name it `.keras` if it is a model of Keras" if is_archive else "save it as `.keras`"
    raise ValueError(
        f"Expected a model: a {' or '.join(SUFFIXES)} file, or a directory of save_pretrained. "
        f"Received: {path}; {_REMEDIES.get(path.suffix, remedy)}."
    )


def check_no_saved_model(directory: PathLike) -> None:
    """Raises a `ValueError` that says what to do if a directory holds a SavedModel.

    Args:
        directory: The directory.
    """
    directory = pathlib.Path(directory)
    if any((directory / name).is_file() for name in _SAVED_MODEL):
        raise ValueError(
            f"Expected a .keras or .h5 file, or a directory of save_pretrained. Received: "
            f"{directory}, a SavedModel, which is a program; if you trust it, load it with the "
            "TensorFlow that wrote it and save the model as `.h5` or `.keras`, or call it as it is "
            "by `keras.layers.TFSMLayer`."
        )
