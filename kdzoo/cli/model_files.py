"""The models that commands are given: files by their paths, or pretrained models by name."""

import pathlib
import typing

import typer

from kdzoo.cli import terminal
from kdzoo.utils import check_directory, check_writable

if typing.TYPE_CHECKING:
    import keras

    from kdzoo.export import LiteRTModel

NAME = "a directory of save_pretrained, or a name that `kdzoo list pretrained` shows"


def load_model(path: pathlib.Path, takes_litert: bool = True) -> "keras.Model | LiteRTModel":
    """Loads a model by its file or name; of the file of a Distiller, the student.

    Args:
        path: Of a file, of a directory that `kdzoo.save_pretrained` wrote, or made of the name of a
            pretrained model.
        takes_litert: Whether a `.tflite` file will do.

    Returns:
        A `keras.Model`, or a `kdzoo.export.LiteRTModel`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is none of a model, or no pretrained model has this name.
    """
    file = file_of(path, takes_litert)
    terminal.start_keras()
    if is_name(path) and file.suffix != ".tflite":
        from kdzoo.zoo import load

        return load(path.as_posix())
    if file.suffix == ".tflite":
        from kdzoo.export import LiteRTModel

        opened = LiteRTModel(file)
        if {"exit1", "exit2"} <= set(opened.signatures):
            raise ValueError(
                f"Expected a file of one network. Received: {path}, of several exits; "
                "`kdzoo benchmark` times each, and `kdzoo.export.DynamicRunner` runs it."
            )
        return opened
    from kdzoo import load_model as load_any
    from kdzoo.distillation.distiller import Distiller

    model = load_any(path)
    return model.student if isinstance(model, Distiller) else model


def file_of(path: pathlib.Path, takes_litert: bool = True) -> pathlib.Path:
    """Returns the file of a model, without starting Keras.

    Args:
        path: Of a file, of a directory that `kdzoo.save_pretrained` wrote, or made of the name of a
            pretrained model.
        takes_litert: Whether a `.tflite` file will do. That of a pretrained model is its file then,
            if one ships; otherwise it is the weights.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is none of a model, or no pretrained model has this name.
    """
    if is_name(path):
        return _file_of_pretrained(path.as_posix(), takes_litert)
    from kdzoo.zoo import file_formats
    from kdzoo.zoo.shared_directory import weights_file

    if path.is_dir():
        file_formats.check_no_saved_model(path)
        return weights_file(path)
    is_litert = takes_litert and path.suffix == ".tflite"
    if not is_litert and not file_formats.leads_to_model(path):
        suffixes = (*file_formats.SUFFIXES, *[".tflite"] * takes_litert)
        expected = " or ".join((", ".join(suffixes[:-1]), suffixes[-1]))
        raise ValueError(f"Expected a {expected} file, or {NAME}. Received: {path}")
    if not path.is_file():
        raise FileNotFoundError(f"Expected the file of a model. Received: {path}, not a file.")
    return path


def stem(path: pathlib.Path) -> str:
    """Returns what the names of files that belong to a model of this path or name begin with."""
    return "-".join(path.parts) if is_name(path) else path.stem


def is_name(path: pathlib.Path) -> bool:
    """Whether this has the form of a name, e.g. `"mlp_2x800/mnist"`, and is no path that exists."""
    has_form = not path.suffix and len(path.parts) > 1 and not path.is_absolute()
    return has_form and not path.exists()


def _file_of_pretrained(name: str, wants_tflite: bool) -> pathlib.Path:
    from kdzoo.zoo import tflite
    from kdzoo.zoo.manifest import find, weights_directory

    files = find(name).files
    if wants_tflite and "tflite" in files:
        return tflite(name)  # This checks its hash; `load` checks that of weights.
    return weights_directory() / files["weights"].file


def check_ships_file(name: str, output: str | pathlib.Path) -> None:
    """Raises unless a pretrained model ships with a `.tflite` file; before Keras starts.

    Args:
        name: Of the model.
        output: What the user calls the file, for the command that makes one.
    """
    from kdzoo.zoo.manifest import find

    if "tflite" not in find(name).files:
        raise ValueError(
            f"Expected a model that ships with a .tflite file. Received: {name}, which ships "
            f"without; `kdzoo export {name} {output}` makes one."
        )


def check_output(output: pathlib.Path, others: str = "") -> None:
    """Raises unless this is a path at which a `.tflite` file can be written.

    Args:
        output: The path.
        others: What else the command writes, in words.
    """
    if output.suffix != ".tflite":
        raise ValueError(f"Expected a .tflite file{others} to write. Received: {output}")
    if output.is_dir():
        raise ValueError(f"Expected a .tflite file to write. Received: {output}, a directory")
    check_writable(output)


def check_new_output(output: pathlib.Path, expected: str) -> None:
    """Raises unless this is a new file with one of the expected suffixes; before Keras starts.

    An old file may be a model that took days to train.
    """
    if output.suffix not in expected.split(" or "):
        raise ValueError(f"Expected a {expected} file to write. Received: {output}")
    if output.exists():
        raise ValueError(f"Expected a new file to write. Received: {output}, which exists.")
    check_writable(output)


def check_run_directory(directory: pathlib.Path) -> pathlib.Path:
    """Returns a directory, missing or not, in which files can be made; before Keras starts.

    Raises:
        ValueError: If there is a file in place of it or of a directory above it.
        PermissionError: If it cannot be written to.
    """
    check_writable(check_directory(directory) / "results.json")
    return directory


def save(model: "keras.Model", output: pathlib.Path) -> None:
    """Saves a model, and says what was written."""
    from kdzoo.graph.model_saving import save_model
    from kdzoo.zoo import save_compressed

    if output.suffix == ".kdz":
        save_compressed(model, output)
    else:
        save_model(model, output)
    typer.echo(
        f"Wrote {output}: {model.name}, {model.count_params():,} parameters, images "
        f"{model.input_shape[1:]}, {model.output_shape[-1]} classes."
    )
