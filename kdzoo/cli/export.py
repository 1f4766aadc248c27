"""`kdzoo export`: a Keras model as a verified `.tflite` file."""

import pathlib
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from kdzoo.cli import budget as budget_option
from kdzoo.cli import data as data_command
from kdzoo.cli import fit_to_data, model_files, terminal
from kdzoo.cli.progress import TrainingProgress
from kdzoo.utils import unknown_name

if TYPE_CHECKING:
    import keras

    from kdzoo.export import OutputAgreement
    from kdzoo.export.convert import Io
    from kdzoo.graph.outputs import OutputType

_QUANTIZE: dict[str, Literal["float16", "dynamic", "int8"] | None] = {
    "none": None,
    "float16": "float16",
    "dynamic": "dynamic",
    "int8": "int8",
}
_IO = ("float32", "uint8", "int8", "auto")
# What is measured of an output, by what it means.
_MEASURED = {
    "classes": "Keras's class on {}",
    "binary": "Keras's label, 0 or 1, for {} of the outputs",
    "numbers": "{} of the variance of Keras's numbers",
}


def export(
    model: Annotated[
        pathlib.Path, typer.Argument(help=f"The file of a Keras model, {model_files.NAME}.")
    ],
    output: Annotated[pathlib.Path, typer.Argument(help="The .tflite file to write.")],
    quantize: Annotated[
        str, typer.Option(help="Quantize to float16, dynamic or int8; none is float32.")
    ] = "none",
    data: Annotated[
        str | None,
        typer.Option(
            help="Verify with this data set, or folder of images by class; int8 is calibrated from "
            "its training images.",
            show_default="random numbers",
        ),
    ] = None,
    data_dir: data_command.DataDir = None,
    image_size: data_command.ImageSize = None,
    crop: data_command.Crop = False,
    output_type: Annotated[
        str | None,
        typer.Option(
            help="Take the outputs as classes, binary labels or numbers.",
            show_default="found out",
        ),
    ] = None,
    io: Annotated[
        str,
        typer.Option(
            help="Give inputs and outputs this type: float32, which every reader feeds; in an int8 "
            "file also uint8 or int8; auto is the type that it computes in."
        ),
    ] = "float32",
    scale: fit_to_data.Scale = None,
    budget: budget_option.Budget = None,
) -> None:
    """Convert a Keras model to a verified .tflite file.

    The file runs against Keras before it appears; one that disagrees is not written. A slimmable
    model becomes a file with a signature for each width; `kdzoo benchmark` times each.
    """
    _check_export(output, quantize, data, output_type, io)
    budget_option.check_budget(budget, data)
    fit_to_data.check_scale(scale)
    _check_ships_no_file(model, output)
    model_files.file_of(model, takes_litert=False)
    _check_data(data, data_dir, image_size, crop)
    terminal.start_keras()
    steps = 2 + (data is not None) + (budget is not None)
    with TrainingProgress(steps) as progress:
        progress.step(f"load {model}")
        converted = cast("keras.Model", model_files.load_model(model, takes_litert=False))
        images = labels = None
        if data is not None:
            progress.step(f"read {data}")
            loaded = data_command.load(data, data_dir, image_size, converted, crop)
            fit_to_data.check_fit(model, converted, loaded, scale)
            images, labels = loaded.train.arrays()[0], list(loaded.class_names)
            if fit_to_data.has_binary_output(converted):  # To the second class.
                labels, output_type = labels[1:], output_type or "binary"
        _check_scalable(model, converted, scale)
        from kdzoo.export import to_litert

        fed, stops = fit_to_data.fed(converted, scale), ""
        if budget is not None:
            progress.step("fit the exits to the budget")
            fed, stops = budget_option.budgeted(fed, budget, loaded)
        progress.step(f"convert to {output} and verify it")
        report = to_litert(
            fed,
            output,
            quantize=_QUANTIZE[quantize],
            representative_data=images,
            labels=labels,
            output_type=cast("OutputType | None", output_type),
            io=cast("Io", io),
        )
    typer.echo(
        f"Wrote {output}: {report.quantize or 'float32'}, {report.io} inputs and outputs, "
        f"{report.bytes:,} bytes; on {report.samples} samples "
        f"({report.verified_on.replace('_', ' ')}) it gives "
        f"{_measured(report.outputs_verified)}, and differs by at most "
        f"{report.max_abs_difference:.2g}.{_zeros(report.sparsity)}{_scaling(scale)}{stops}"
    )


def _zeros(sparsity: float | None) -> str:
    """Says how many weights of a file are zero, where that is known."""
    return "" if sparsity is None else f" {terminal.percent(sparsity)} of its weights are zero."


def _scaling(scale: str | None) -> str:
    """Says what a file does to pixels first."""
    is_own = scale in (None, "0..1")
    return "" if is_own else f" It takes pixels in 0..1, and scales them itself ({scale})."


def _measured(outputs: "tuple[OutputAgreement, ...]") -> str:
    """Returns what was measured of each output."""
    return ", ".join(
        _MEASURED[output.output_type].format(terminal.percent(output.agreement))
        + (f" in {output.name!r}" if len(outputs) > 1 else "")
        for output in outputs
    )


def _check_scalable(path: pathlib.Path, model: "keras.Model", scale: str | None) -> None:
    """Raises if a model knows ranges of what it computes, or has widths that a layer would hide."""
    from kdzoo.dynamic import Slimmable
    from kdzoo.graph.exportable import exportable

    if scale not in (None, "0..1") and isinstance(model, Slimmable):
        raise ValueError(
            f"Expected no --scale for a model of several widths. Received: {path} and {scale}; put "
            "keras.layers.Rescaling before the network of which it is made."
        )

    if scale not in (None, "0..1") and exportable(model).is_quantization_aware:
        raise ValueError(
            f"Expected no --scale for a model whose quantization was trained. Received: {path} and "
            f"{scale}; put keras.layers.Rescaling before it first, and train its quantization then."
        )


def _check_ships_no_file(model: pathlib.Path, output: pathlib.Path) -> None:
    """Raises if a pretrained model ships with a `.tflite` file: a new one would differ from it."""
    if model_files.is_name(model):
        from kdzoo.zoo.manifest import find

        if "tflite" in find(model.as_posix()).files:
            raise ValueError(
                f"Expected a model that ships without a .tflite file. Received: {model}, which "
                f"ships with one; `kdzoo load {model} {output}` writes it."
            )


def _check_data(
    data: str | None, data_dir: pathlib.Path | None, image_size: str | None, crop: bool
) -> None:
    """Raises for data that there is not, and for options that need data; before Keras starts."""
    if data is not None:
        data_command.check(data, image_size, crop, data_dir)
        return
    given = {"--data-dir": data_dir, "--image-size": image_size, "--crop": crop or None}
    for option, value in given.items():
        if value is not None:
            raise ValueError(f"Expected --data beside {option}. Received: no --data.")


def _check_export(
    output: pathlib.Path, quantize: str, data: str | None, output_type: str | None, io: str
) -> None:
    """Raises unless the options of an export agree; called before Keras starts."""
    if quantize not in _QUANTIZE:
        raise unknown_name("quantization", quantize, _QUANTIZE)
    if output_type is not None and output_type not in _MEASURED:
        raise unknown_name("output type", output_type, _MEASURED)
    if io not in _IO:
        raise unknown_name("type of inputs and outputs", io, _IO)
    if quantize == "int8" and data is None:
        raise ValueError(
            "Expected --data NAME with --quantize int8, which is calibrated from real images. "
            "Received: no --data."
        )
    model_files.check_output(output)
