"""`kdzoo load`: a pretrained model, as a file."""

import pathlib
from typing import Annotated

import typer

from kdzoo.cli import completion, model_files, terminal


def load(
    name: Annotated[
        str,
        typer.Argument(
            help="A name that `kdzoo list pretrained` shows.",
            autocompletion=completion.of(completion.pretrained),
        ),
    ],
    output: Annotated[
        pathlib.Path,
        typer.Argument(
            help="The .keras or .kdz file to write; a .tflite file where one is shipped."
        ),
    ],
    classes: Annotated[
        int | None,
        typer.Option(
            help="Give the model a fresh head for so many classes.",
            show_default="the pretrained head",
        ),
    ] = None,
) -> None:
    """Write a pretrained model, checked by its hash."""
    from kdzoo.utils import write_bytes
    from kdzoo.zoo.manifest import find

    row = find(name)
    model_files.check_new_output(output, ".keras or .kdz or .tflite")
    if output.suffix == ".tflite":
        if classes is not None:
            raise ValueError(
                "Expected a .keras file to write a model with a fresh head. Received: "
                f"{output} and --classes"
            )
        from kdzoo.zoo.pretrained_files import content

        model_files.check_ships_file(name, output)

        file = content(row, "tflite")
        write_bytes(output, file)
        typer.echo(f"Wrote {output}: {name}, {len(file):,} bytes.")
        return
    terminal.start_keras()
    from kdzoo.zoo import load

    model_files.save(load(name, classes), output)
