"""`kdzoo evaluate`, `export` and `benchmark`: what one does with a model, by file or by name."""

import pathlib
from typing import Annotated

import typer

from kdzoo.cli import data as data_command
from kdzoo.cli import terminal
from kdzoo.utils import check_parents, unknown_name

NAME = "a directory of save_pretrained, or a name that `kdzoo list pretrained` shows"
_SPLITS = ("train", "validation", "test")
_QUANTIZE = ("none", "float16", "dynamic", "int8")


def evaluate(
    model: Annotated[pathlib.Path, typer.Argument(help=f"A .keras or a .tflite file, or {NAME}.")],
    data: Annotated[str, typer.Argument(help="Data set, or a directory of an export.")],
    teacher: Annotated[
        pathlib.Path | None, typer.Option(help="Report the agreement with this model, too.")
    ] = None,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    data_dir: data_command.DataDir = None,
):
    """Measure how good and how large a model is.

    Accuracy, agreement with a teacher, parameters, multiply-accumulates of one image, bytes on
    disk.
    """
    if split not in _SPLITS:
        raise unknown_name("split", split, _SPLITS)
    measured = load_model(model)
    asked = load_model(teacher) if teacher else None
    from kdzoo import evaluation
    from kdzoo.compression.tfmot.unwrapping import plain_copy

    loaded = data_command.load(data, data_dir)
    part = getattr(loaded, split)
    if part is None:
        raise ValueError(f"Expected data with a {split} split. Received: {data!r} without one.")
    for path, each in ((model, measured), (teacher, asked)):
        check_fit(path, each, loaded)
    images, labels = part.arrays()
    table = terminal.table("measure", ">value", title=f"{model} on {data} ({split})")
    with terminal.working("Measuring"):
        accuracy = evaluation.accuracy(measured, images, labels)
        table.add_row("accuracy", terminal.percent(accuracy, 2))
        if asked is not None:
            agreement = evaluation.agreement(asked, measured, images)
            table.add_row("agreement with the teacher", terminal.percent(agreement, 2))
        table.add_row("images", f"{len(part):,}")
        if hasattr(measured, "count_params"):
            parts = [plain_copy(each) or each for each in getattr(measured, "members", [measured])]
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
):
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
            quantize=None if quantize == "none" else quantize,
            representative_data=images,
            labels=labels,
        )
    kind = report.quantize or "float32"
    typer.echo(
        f"Wrote {output}: {kind}, {report.bytes:,} bytes; on {report.samples} samples "
        f"({report.verified_on.replace('_', ' ')}) it has Keras's argmax on "
        f"{terminal.percent(report.argmax_agreement)} and differs by at most "
        f"{report.max_abs_difference:.2g}."
    )


def _check_ships_no_file(model, output):
    """Raises if a pretrained model is a `.tflite` file itself: a new one would be another."""
    if _is_name(model):
        from kdzoo.zoo.manifest import find

        if "tflite" in find(model.as_posix()).files:
            raise ValueError(
                f"Expected a model that ships without a .tflite file. Received: {model}, which "
                f"ships with one; `kdzoo load {model} {output}` writes it."
            )


def _check_export(output, quantize, data):
    """Raises unless the options go together; said before Keras starts."""
    if quantize not in _QUANTIZE:
        raise unknown_name("quantization", quantize, _QUANTIZE)
    if quantize == "int8" and data is None:
        raise ValueError(
            "Expected --data NAME with --quantize int8, which is calibrated from real images. "
            "Received: no --data."
        )
    check_output(output)


def check_output(output):
    """Raises unless a `.tflite` file can be written there."""
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
):
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


def load_model(path, suffixes=(".keras", ".tflite")):
    """Loads the model of a file, of a Distiller's its student; or a pretrained one.

    Args:
        path: A `pathlib.Path`: of a file, of a directory that `kdzoo.save_pretrained` wrote, or
            made of the name of a pretrained model.
        suffixes: The suffixes that are taken of files.

    Returns:
        A `keras.Model`, or a `kdzoo.export.LiteRTModel`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no model of these kinds, or there is no pretrained one of this name.
    """
    given, path = path, file_of(path, suffixes)
    terminal.start_keras()
    if given.is_dir():
        from kdzoo.zoo import load_pretrained

        return load_pretrained(given)
    if path.suffix == ".safetensors":
        from kdzoo.zoo import load

        return load(given.as_posix())
    if path.suffix == ".tflite":
        from kdzoo.export import LiteRTModel

        return LiteRTModel(path)
    from kdzoo.distillation.distiller import Distiller
    from kdzoo.zoo.files import load_keras_file

    model = load_keras_file(path)
    return model.student if isinstance(model, Distiller) else model


def file_of(path, suffixes=(".keras", ".tflite")):
    """Returns the file of a model, that which ships of a pretrained one; before Keras starts.

    Args:
        path: As in `load_model`.
        suffixes: As there. Of a pretrained model the `.tflite` file, where it ships one and such
            files are taken, else the weights.

    Raises:
        FileNotFoundError: As there.
        ValueError: As there.
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


def stem(path):
    """Returns what files that belong to a model of this path or name are called after it."""
    return "-".join(path.parts) if _is_name(path) else path.stem


def _is_name(path):
    """Whether this is no file but, as `"mlp_2x800/mnist"`, has the form of a name."""
    has_form = not path.suffix and len(path.parts) > 1 and not path.is_absolute()
    return has_form and not path.exists()


def _file_of_pretrained(name, wants_tflite):
    from kdzoo.zoo import tflite
    from kdzoo.zoo.manifest import find, weights_directory

    files = find(name).files
    if wants_tflite and "tflite" in files:
        return tflite(name)  # Its hash checked; of weights, `load` checks it.
    return weights_directory() / files["weights"].file


def _tflite_of(path):
    """Returns the path of a .tflite file, or of that which a pretrained model ships."""
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


def check_fit(path, model, data):
    """Raises unless a model of one input and output, where its shapes are known, fits the data.

    Of a pretrained model the classes are known, too.
    """
    if model is None:
        return
    _check_shapes(path, model, data)
    if _is_name(pathlib.Path(path)):
        from kdzoo.zoo.manifest import check_classes, find

        check_classes(find(pathlib.Path(path).as_posix()), data)


def _check_shapes(path, model, data):
    model = getattr(model, "graph", model)  # Of an ensemble, a member that knows its shapes.
    if not getattr(model, "inputs", None):
        return
    shapes = model.inputs[0].shape[1:], model.outputs[0].shape[-1:]
    expected = data.input_shape, (data.classes,)
    for what, own, needed in zip(("images", "classes"), shapes, expected, strict=True):
        if tuple(own) != tuple(needed) and None not in own:
            raise ValueError(
                f"Expected a model for {what} of {data.name!r}, {needed}. Received: {path} for "
                f"{tuple(own)}."
            )
