"""`kdzoo create`, `load` and `pair`: models by name, as files for what comes next."""

import pathlib
import typing
from typing import Annotated

import typer

from kdzoo.cli import listing, terminal
from kdzoo.utils import check_parents

if typing.TYPE_CHECKING:
    import keras

_Output = Annotated[pathlib.Path, typer.Argument(help="The .keras file to write.")]


def create(
    name: Annotated[str, typer.Argument(help="A name that `kdzoo list models` shows.")],
    output: _Output,
    classes: Annotated[int, typer.Option(help="Number of classes.")] = 10,
    input_shape: Annotated[
        str | None, typer.Option(help="Height,width,channels; the model's own if left out.")
    ] = None,
) -> None:
    """Write a model with fresh weights."""
    from kdzoo.zoo import architecture

    architecture(name)
    _check_output(output, ".keras")
    shape = None if input_shape is None else _as_shape(input_shape)
    terminal.start_keras()
    from kdzoo.zoo import create

    _save(create(name, classes, shape), output)


def load(
    name: Annotated[str, typer.Argument(help="A name that `kdzoo list pretrained` shows.")],
    output: Annotated[
        pathlib.Path,
        typer.Argument(help="The .keras file to write; .tflite where one is shipped."),
    ],
    classes: Annotated[
        int | None, typer.Option(help="Classes of a fresh head; the pretrained head if left out.")
    ] = None,
) -> None:
    """Write a pretrained model, checked by its hash."""
    from kdzoo.utils import write_bytes
    from kdzoo.zoo.manifest import find

    row = find(name)
    _check_output(output, ".keras or .tflite")
    if output.suffix == ".tflite":
        if classes is not None:
            raise ValueError(
                "Expected a .keras file to write a model with a fresh head. Received: "
                f"{output} and --classes"
            )
        from kdzoo.zoo.pretrained_files import content

        file = content(row, "tflite")
        write_bytes(output, file)
        typer.echo(f"Wrote {output}: {name}, {len(file):,} bytes.")
        return
    terminal.start_keras()
    from kdzoo.zoo import load

    _save(load(name, classes), output)


def pair(
    name: Annotated[str, typer.Argument(help="A name that `kdzoo list pairs` shows.")],
) -> None:
    """Show a pair: teacher, student, data, losses."""
    from kdzoo.zoo.pair_definitions import pair_definition

    named = pair_definition(name)
    table = terminal.table("part", "what it is", title=name)
    teacher = listing.teacher_of(named)
    table.add_row("teacher", teacher)
    table.add_row("student", terminal.architecture(named.student, named.arguments))
    table.add_row("data", f"{named.dataset}, {named.classes} classes, {named.input_shape}")
    for loss, arguments, weight in named.losses:
        table.add_row("loss", f"{weight} · {terminal.architecture(loss, arguments)}")
    table.add_row("student_loss_weight", str(named.student_loss_weight))
    given = "teacher" if teacher.endswith(listing.NOT_SHIPPED) else ""
    table.add_row("in Python", f'kdzoo.pair("{name}").distiller({given})')
    terminal.show(table)


def _check_output(output: pathlib.Path, expected: str) -> None:
    """Raises unless this is a new file with one of the expected suffixes; before Keras starts.

    An old file may be a model that took days to train.
    """
    if output.suffix not in expected.split(" or "):
        raise ValueError(f"Expected a {expected} file to write. Received: {output}")
    if output.exists():
        raise ValueError(f"Expected a new file to write. Received: {output}, which exists.")
    check_parents(output)


def _as_shape(text: str) -> tuple[int, int, int]:
    try:
        height, width, channels = map(int, text.split(","))
    except ValueError:
        raise ValueError(
            "Expected --input-shape as height,width,channels, e.g. 32,32,3. Received: "
            f"--input-shape={text}"
        ) from None
    return height, width, channels


def _save(model: "keras.Model", output: pathlib.Path) -> None:
    from kdzoo.graph.saving import save_model

    save_model(model, output)
    typer.echo(
        f"Wrote {output}: {model.name}, {model.count_params():,} parameters, images "
        f"{model.input_shape[1:]}, {model.output_shape[-1]} classes."
    )
