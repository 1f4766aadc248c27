"""`kdzoo create`: a model with fresh weights, as a file."""

import pathlib
from typing import Annotated

import typer

from kdzoo.cli import model_files, terminal


def create(
    name: Annotated[str, typer.Argument(help="A name that `kdzoo list models` shows.")],
    output: Annotated[pathlib.Path, typer.Argument(help="The .keras file to write.")],
    classes: Annotated[int, typer.Option(help="Number of classes.")] = 10,
    input_shape: Annotated[
        str | None, typer.Option(help="Height,width,channels; the model's own if left out.")
    ] = None,
) -> None:
    """Write a model with fresh weights."""
    from kdzoo.zoo import architecture

    architecture(name)
    model_files.check_new_output(output, ".keras")
    shape = None if input_shape is None else _as_shape(input_shape)
    terminal.start_keras()
    from kdzoo.zoo import create

    model_files.save(create(name, classes, shape), output)


def _as_shape(text: str) -> tuple[int, int, int]:
    try:
        height, width, channels = map(int, text.split(","))
    except ValueError:
        raise ValueError(
            "Expected --input-shape as height,width,channels, e.g. 32,32,3. Received: "
            f"--input-shape={text}"
        ) from None
    return height, width, channels
