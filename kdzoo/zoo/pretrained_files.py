"""The files of pretrained models, found by name and checked by hash, without loading Keras."""

import pathlib
from typing import Literal

from kdzoo.utils.types import PathLike
from kdzoo.zoo.hashed_files import read_checked
from kdzoo.zoo.manifest import Pretrained, directory_of, find


def tflite(name: str, directory: PathLike | None = None) -> pathlib.Path:
    """Returns the path of the `.tflite` file of a pretrained model, after checking its hash.

    The file takes one image (1, height, width, channels) in [0, 1] and gives its logits
    (1, classes), both float32. If the name ends in `"/int8"`, the file computes in int8 between
    them.

    Args:
        name: A name in `kdzoo.list_pretrained()` of a compressed model, e.g.
            `"separable_050/cifar10/int8"`; models of other names ship no `.tflite` file.
        directory: The directory of the weights and their manifest; None for the weights that come
            with kdzoo.

    Returns:
        A `pathlib.Path`.

    Raises:
        FileNotFoundError: If the manifest or the file is missing.
        ValueError: If there is no such model, it ships no `.tflite` file, or the manifest or the
            file was altered.

    Example:

    ```python
    path = kdzoo.zoo.tflite("separable_050/cifar10/int8")
    labels = kdzoo.export.LiteRTModel(path).predict(images).argmax(axis=1)
    ```
    """
    row = find(name, directory)
    content(row, "tflite", directory)
    return directory_of(directory) / row.files["tflite"].file


def content(
    row: Pretrained,
    file: Literal["weights", "tflite"],
    directory: PathLike | None = None,
) -> bytes:
    """Returns the content of a file of a pretrained model, after checking its hash.

    Args:
        row: The `Pretrained`.
        file: Which of its files: `"weights"` or `"tflite"`.
        directory: The directory of the weights and their manifest; None for the weights that come
            with kdzoo.

    Raises:
        FileNotFoundError: If the file is missing.
        ValueError: If the model has no such file, or the file was truncated or altered.
    """
    if file not in row.files:
        raise ValueError(
            f"Expected a model with a .{file} file. Received: {row.name!r}, which has "
            f"{', '.join(row.files)}; make one with kdzoo.export.to_litert."
        )
    found = row.files[file]
    return read_checked(directory_of(directory) / found.file, found.sha256, found.bytes)
