"""`kdzoo create`: a model with fresh weights, as a file."""

import pathlib
import re
from typing import Annotated

import typer

from kdzoo.cli import completion, model_files, terminal

_LEAST_CLASSES = 2


def create(
    name: Annotated[
        str,
        typer.Argument(
            help="A name that `kdzoo list models` shows.",
            autocompletion=completion.of(completion.models),
        ),
    ],
    output: Annotated[pathlib.Path, typer.Argument(help="The .keras file to write.")],
    classes: Annotated[int, typer.Option(help="Tell so many classes apart.")] = 10,
    input_shape: Annotated[
        str | None,
        typer.Option(
            help="Take images of this height,width,channels, e.g. 28,28,1.",
            show_default="the model's own",
        ),
    ] = None,
) -> None:
    """Write a model with fresh weights."""
    from kdzoo.zoo import architecture

    architecture(name)
    model_files.check_new_output(output, ".keras")
    shape = None if input_shape is None else _as_shape(input_shape)
    if classes < _LEAST_CLASSES:
        raise ValueError(
            f"Expected --classes to be at least {_LEAST_CLASSES}. Received: --classes={classes}"
        )
    terminal.start_keras()
    from kdzoo.zoo import create

    try:
        model = create(name, classes, shape)
    except ValueError as error:
        raise ValueError(_naming_options(str(error))) from error
    model_files.save(model, output)
    _note_of_the_zoo(name, model.input_shape[1:])


def _as_shape(text: str) -> tuple[int, int, int]:
    try:
        height, width, channels = map(int, text.split(","))
    except ValueError:
        raise ValueError(
            "Expected --input-shape as height,width,channels, e.g. 32,32,3. Received: "
            f"--input-shape={text}"
        ) from None
    return height, width, channels


def _naming_options(error: str) -> str:
    """An error of the function, in whose place the options stand that were given."""
    error = re.sub(
        r"\binput_shape=\(([\d, -]+)\)",
        lambda found: f"input_shape={found[1].replace(' ', '')}",
        error,
    )
    return re.sub(r"\binput_shape\b", "--input-shape", error)


def _note_of_the_zoo(name: str, shape: tuple[int, ...]) -> None:
    """Says where the pretrained models for such images are built in another way."""
    from kdzoo.zoo.manifest import read_manifest

    rows = [row for row in read_manifest().values() if row.architecture == name]
    others = [row for row in rows if tuple(row.input_shape) == tuple(shape) and row.arguments]
    for row in others[:1]:
        arguments = terminal.architecture("", row.arguments).strip(" ()")
        typer.echo(
            f"Note: {row.name} is built with {arguments}, this model without; `kdzoo load "
            f"{row.name} FILE.keras --classes N` writes that network with a fresh head.",
            err=True,
        )
