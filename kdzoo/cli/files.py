"""`kdzoo evaluate`, `export` and `benchmark`: what one does with a model, by file or by name."""

import pathlib
import typing
from typing import Annotated, Literal

import typer

from kdzoo.cli import data as data_command
from kdzoo.cli import terminal
from kdzoo.utils import check_parents, unknown_name

if typing.TYPE_CHECKING:
    import keras

    from kdzoo.data import Dataset
    from kdzoo.export import LiteRTModel

NAME = "a directory of save_pretrained, or a name that `kdzoo list pretrained` shows"
_SPLITS = ("train", "validation", "test")
_QUANTIZE: dict[str, Literal["float16", "dynamic", "int8"] | None] = {
    "none": None,
    "float16": "float16",
    "dynamic": "dynamic",
    "int8": "int8",
}


def evaluate(
    model: Annotated[pathlib.Path, typer.Argument(help=f"A .keras or a .tflite file, or {NAME}.")],
    data: Annotated[str, typer.Argument(help="Data set, or a directory of an export.")],
    teacher: Annotated[
        pathlib.Path | None, typer.Option(help="Report the agreement with this model, too.")
    ] = None,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    data_dir: data_command.DataDir = None,
) -> None:
    """Measure how good and how large a model is.

    Accuracy, agreement with a teacher, parameters, multiply-accumulates of one image, bytes on
    disk.
    """
    if split not in _SPLITS:
        raise unknown_name("split", split, _SPLITS)
    measured = load_model(model)
    loaded_teacher = load_model(teacher) if teacher else None
    from kdzoo import evaluation
    from kdzoo.compression.tfmot.unwrapping import plain_copy

    loaded = data_command.load(data, data_dir)
    part = getattr(loaded, split)
    if part is None:
        raise ValueError(f"Expected data with a {split} split. Received: {data!r} without one.")
    check_fit(model, measured, loaded)
    check_fit(teacher, loaded_teacher, loaded)
    images, labels = part.arrays()
    table = terminal.table("measure", ">value", title=f"{model} on {data} ({split})")
    with terminal.working("Measuring"):
        accuracy = evaluation.accuracy(measured, images, labels)
        table.add_row("accuracy", terminal.percent(accuracy, 2))
        if loaded_teacher is not None:
            agreement = evaluation.agreement(loaded_teacher, measured, images)
            table.add_row("agreement with the teacher", terminal.percent(agreement, 2))
        table.add_row("images", f"{len(part):,}")
        if hasattr(measured, "count_params"):
            members = getattr(measured, "members", [measured])
            parts = [plain_copy(member) or member for member in members]
            for name, count in (
                ("parameters", evaluation.count_parameters),
                ("MACs", evaluation.count_macs),
            ):
                table.add_row(name, f"{sum(count(part) for part in parts):,}")
        table.add_row("bytes", f"{file_of(model).stat().st_size:,}")
    terminal.show(table)


def export(
    model: Annotated[pathlib.Path, typer.Argument(help=f"A .keras file, or {NAME}.")],
    output: Annotated[pathlib.Path, typer.Argument(help="The .tflite file to write.")],
    quantize: Annotated[str, typer.Option(help="none, float16, dynamic or int8.")] = "none",
    data: Annotated[
        str | None,
        typer.Option(help="Data set to verify with; int8 is calibrated from its training images."),
    ] = None,
    data_dir: data_command.DataDir = None,
) -> None:
    """Convert a Keras model to a verified .tflite file.

    The file runs against Keras before it appears; one that disagrees is not written.
    """
    _check_export(output, quantize, data)
    _check_ships_no_file(model, output)
    converted = load_model(model, (".keras",))
    images = labels = None
    if data is not None:
        loaded = data_command.load(data, data_dir)
        check_fit(model, converted, loaded)
        images, labels = loaded.train.arrays()[0], list(loaded.class_names)
    from kdzoo.export import to_litert

    with terminal.working("Converting"):
        report = to_litert(
            converted,
            output,
            quantize=_QUANTIZE[quantize],
            representative_data=images,
            labels=labels,
        )
    typer.echo(
        f"Wrote {output}: {report.quantize or 'float32'}, {report.bytes:,} bytes; on "
        f"{report.samples} samples ({report.verified_on.replace('_', ' ')}) it has Keras's argmax "
        f"on {terminal.percent(report.argmax_agreement)} and differs by at most "
        f"{report.max_abs_difference:.2g}."
    )


def _check_ships_no_file(model: pathlib.Path, output: pathlib.Path) -> None:
    """Raises if a pretrained model ships with a `.tflite` file: a new one would differ from it."""
    if _is_name(model):
        from kdzoo.zoo.manifest import find

        if "tflite" in find(model.as_posix()).files:
            raise ValueError(
                f"Expected a model that ships without a .tflite file. Received: {model}, which "
                f"ships with one; `kdzoo load {model} {output}` writes it."
            )


def _check_export(output: pathlib.Path, quantize: str, data: str | None) -> None:
    """Raises unless the options of an export agree; called before Keras starts."""
    if quantize not in _QUANTIZE:
        raise unknown_name("quantization", quantize, _QUANTIZE)
    if quantize == "int8" and data is None:
        raise ValueError(
            "Expected --data NAME with --quantize int8, which is calibrated from real images. "
            "Received: no --data."
        )
    check_output(output)


def check_output(output: pathlib.Path) -> None:
    """Raises unless this is a path at which a `.tflite` file can be written."""
    if output.suffix != ".tflite":
        raise ValueError(f"Expected a .tflite file to write. Received: {output}")
    if output.is_dir():
        raise ValueError(f"Expected a .tflite file to write. Received: {output}, a directory")
    check_parents(output)


def benchmark(
    file: Annotated[
        pathlib.Path,
        typer.Argument(help="A .tflite file, or the name of a pretrained model that ships one."),
    ],
    threads: Annotated[int, typer.Option(min=1, help="Threads of the interpreter.")] = 1,
    runs: Annotated[int, typer.Option(min=1, help="Timed runs.")] = 200,
) -> None:
    """Time a .tflite file on this machine.

    Median and quartiles of one run, which is one image unless the file says otherwise.
    """
    path = _tflite_of(file)
    terminal.start_keras()
    from kdzoo.evaluation import file_bytes, latency

    size = file_bytes(path)
    with terminal.working(f"Timing {file}"), terminal.quiet():
        measured = latency(path, threads, runs=runs)
    typer.echo(f"{file}: {measured}; {size:,} bytes")


def load_model(
    path: pathlib.Path, suffixes: tuple[str, ...] = (".keras", ".tflite")
) -> "keras.Model | LiteRTModel":
    """Loads a model by its file or name; of the file of a Distiller, the student.

    Args:
        path: Of a file, of a directory that `kdzoo.save_pretrained` wrote, or made of the name of a
            pretrained model.
        suffixes: The suffixes that a file may have.

    Returns:
        A `keras.Model`, or a `kdzoo.export.LiteRTModel`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file has another suffix, or no pretrained model has this name.
    """
    file = file_of(path, suffixes)
    terminal.start_keras()
    if path.is_dir():
        from kdzoo.zoo import load_pretrained

        return load_pretrained(path)
    if file.suffix == ".safetensors":
        from kdzoo.zoo import load

        return load(path.as_posix())
    if file.suffix == ".tflite":
        from kdzoo.export import LiteRTModel

        return LiteRTModel(file)
    from kdzoo.distillation.distiller import Distiller
    from kdzoo.zoo.files import load_keras_file

    model = load_keras_file(file)
    return model.student if isinstance(model, Distiller) else model


def file_of(path: pathlib.Path, suffixes: tuple[str, ...] = (".keras", ".tflite")) -> pathlib.Path:
    """Returns the file of a model, without starting Keras.

    Args:
        path: Of a file, of a directory that `kdzoo.save_pretrained` wrote, or made of the name of a
            pretrained model.
        suffixes: The suffixes that a file may have. Where `.tflite` is among them, the file of a
            pretrained model is the `.tflite` file if one ships; otherwise it is the weights.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file has another suffix, or no pretrained model has this name.
    """
    if _is_name(path):
        return _file_of_pretrained(path.as_posix(), ".tflite" in suffixes)
    if path.is_dir():
        from kdzoo.zoo.shared_directory import weights_file

        return weights_file(path)
    if path.suffix not in suffixes:
        raise ValueError(f"Expected a {' or '.join(suffixes)} file, or {NAME}. Received: {path}")
    if not path.is_file():
        raise FileNotFoundError(f"Expected the file of a model. Received: {path}, not a file.")
    return path


def stem(path: pathlib.Path) -> str:
    """Returns what the names of files that belong to a model of this path or name begin with."""
    return "-".join(path.parts) if _is_name(path) else path.stem


def _is_name(path: pathlib.Path) -> bool:
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


def _tflite_of(path: pathlib.Path) -> pathlib.Path:
    """Returns the path of a `.tflite` file: itself, or that which ships for a pretrained model."""
    if _is_name(path):
        from kdzoo.zoo import tflite

        return tflite(path.as_posix())
    if path.is_dir() or path.suffix != ".tflite":
        what = f"{path}, a directory" if path.is_dir() else path
        raise ValueError(
            "Expected a .tflite file, or the name of a pretrained model that ships one. Received: "
            f"{what}; `kdzoo export` makes such a file of a model."
        )
    return file_of(path)


def check_fit(
    path: str | pathlib.Path | None, model: "keras.Model | LiteRTModel | None", data: "Dataset"
) -> None:
    """Raises unless a model with one input and one output fits the data, as far as is known.

    Args:
        path: What the user called the model: its file or name; None is not checked.
        model: The model; None is not checked.
        data: The data set: the shape of its images and its number of classes are compared and, for
            a pretrained model, the names of the classes.

    Raises:
        ValueError: If they differ.
    """
    if path is None or model is None:
        return
    _check_shapes(path, model, data)
    if _is_name(pathlib.Path(path)):
        from kdzoo.zoo.manifest import check_classes, find

        check_classes(find(pathlib.Path(path).as_posix()), data)


def _check_shapes(path, model, data):
    from kdzoo.graph.exportable import shape_model

    model = shape_model(model)
    if model is None:
        return
    shapes = model.inputs[0].shape[1:], model.outputs[0].shape[-1:]
    expected = data.input_shape, (data.classes,)
    for what, own, needed in zip(("images", "classes"), shapes, expected, strict=True):
        if tuple(own) != tuple(needed) and None not in own:
            raise ValueError(
                f"Expected a model for {what} of {data.name!r}, {needed}. Received: {path} for "
                f"{tuple(own)}."
            )
