"""What `kdzoo compress` writes, a `.tflite`, `.keras` or `.kdz` file, and what that is worth."""

import pathlib
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kdzoo.cli import model_files

if TYPE_CHECKING:
    import keras

    from kdzoo.data import Dataset
    from kdzoo.experiments import Compression

_OF_KERAS = (".keras", ".kdz")
_NAMED = 3  # Layers in a line.
_LINES = 4  # Of a step.


def check_path(output: pathlib.Path) -> None:
    """Raises unless one of these files can be written there; before Keras starts."""
    if output.suffix in _OF_KERAS:
        model_files.check_new_output(output, " or ".join(_OF_KERAS))
    else:
        model_files.check_output(output, " or a .keras or .kdz file")


def check_settings(output: pathlib.Path, compression: "Compression") -> None:
    """Raises unless the file can be what is asked for.

    Args:
        output: The file.
        compression: What is done to the model.
    """
    if output.suffix == ".tflite":
        return
    trained = (None, "qat") if output.suffix == ".keras" else (None,)
    if compression.quantize not in trained:
        raise ValueError(
            f"Expected a .tflite file beside --quantize {compression.quantize}. Received: {output}"
        )
    if compression.sparse:
        raise ValueError(f"Expected a .tflite file beside --sparse. Received: {output}")


def check_backend(output: pathlib.Path, model: "keras.Model") -> None:
    """Raises `RuntimeError` if only another backend can write the file; before anything is trained.

    Args:
        output: The file.
        model: The model that is compressed.
    """
    import keras

    from kdzoo.export.signature import check_exportable

    if output.suffix == ".tflite" and keras.backend.backend() != "tensorflow":
        check_exportable(model)


def lines_of_left(step: str, left: Mapping[str, str]) -> list[str]:
    """Returns a line for each reason why a step left layers as they are; of many, the first ones.

    Args:
        step: Name of the step.
        left: Path of a layer -> why.
    """
    from kdzoo.experiments.zeros_and_values import SCHEMES

    groups: dict[str, list[str]] = {}
    for path, why in left.items():
        groups.setdefault(re.sub(r"\d[\d,]*", "…", why), []).append(path)
    name = step.replace("_", "-")
    option, lines = f"--scheme {name}" if step in SCHEMES else f"--{name}", []
    for paths in groups.values():
        more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
        lines.append(f"{option} left {', '.join(paths[:_NAMED])}{more}: {left[paths[0]]}")
    if len(lines) > _LINES:
        beyond = sum(len(paths) for paths in list(groups.values())[_LINES - 1 :])
        lines[_LINES - 1 :] = [f"{option} left {beyond} more for other reasons"]
    return lines


def write(
    model: "keras.Model", path: pathlib.Path, compression: "Compression", data: "Dataset"
) -> None:
    """Writes a model as the file that a path names.

    Args:
        model: The model.
        path: The file.
        compression: How its numbers are written, of a `.tflite` file.
        data: The data set.
    """
    from kdzoo.experiments import measure_compressed
    from kdzoo.graph.model_saving import save_model
    from kdzoo.zoo import save_compressed

    if path.suffix == ".tflite":
        measure_compressed.export(model, path, compression, data)
    elif path.suffix == ".kdz":
        save_compressed(model, path, keep_negative_zeros=False)
    else:
        save_model(model, path)


def measured(path: pathlib.Path, model: "keras.Model", data: "Dataset") -> dict[str, Any]:
    """Returns what a file and its model are worth.

    Args:
        path: The file.
        model: Its model.
        data: The data set.
    """
    from kdzoo.experiments import measure_compressed

    if path.suffix == ".tflite":
        return measure_compressed.measure(path, model, data)
    return measure_compressed.measure_saved(path, model, data)
