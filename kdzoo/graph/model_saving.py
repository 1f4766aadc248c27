"""`.keras` files, written whole or not at all."""

import os
from typing import Any

import keras

from kdzoo.graph.keras_internals import keras_file
from kdzoo.utils import write_bytes


def save_model(model: keras.Model, path: os.PathLike[str] | str) -> None:
    """Writes a model as a `.keras` file, which is made in memory.

    Keras's own `model.save` leaves a part of a file on a full disk.

    Args:
        model: The `keras.Model`.
        path: Where the file goes, whole or not at all.

    Raises:
        ValueError: If it is no path, or there is a file where one of its directories belongs.
        FullDiskError: If the disk is full or a limit is reached; the error names path and bytes.
    """
    write_bytes(path, keras_file(model))


def is_model(value: Any) -> bool:
    """Returns whether a value is a `keras.Model`."""
    return isinstance(value, keras.Model)
