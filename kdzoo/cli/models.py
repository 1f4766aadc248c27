"""`kdzoo create`, `load` and `pair`: models by name, as files for what comes next."""

import pathlib
from typing import Annotated

import typer

from kdzoo.cli import listing, terminal
from kdzoo.utils import check_parents

_Output = Annotated[pathlib.Path, typer.Argument(help="The .keras file to write.")]


def create(
    name: Annotated[str, typer.Argument(help="A name that `kdzoo list models` shows.")],
    output: _Output,
    classes: Annotated[int, typer.Option(help="Number of classes.")] = 10,
    input_shape: Annotated[
        str | None, typer.Option(help="Height,width,channels; the model's own if left out.")
    ] = None,
):
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
):
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
        from kdzoo.zoo.pretrained import content

        checked = content(row, "tflite")
        write_bytes(output, checked)
        typer.echo(f"Wrote {output}: {name}, {len(checked):,} bytes.")
        return
    terminal.start_keras()
    from kdzoo.zoo import load

    _save(load(name, classes), output)


def pair(name: Annotated[str, typer.Argument(help="A name that `kdzoo list pairs` shows.")]):
    """Show a pair: teacher, student, data, losses."""
    from kdzoo.zoo.pairs import pair

    found = pair(name)
    table = terminal.table("part", "what it is", title=name)
    teacher = listing.teacher_of(found)
    table.add_row("teacher", teacher)
    table.add_row("student", terminal.architecture(found.student, found.arguments))
    table.add_row("data", f"{found.dataset}, {found.classes} classes, {found.input_shape}")
    for loss, arguments, weight in found.losses:
        table.add_row("loss", f"{weight} · {terminal.architecture(loss, arguments)}")
    table.add_row("student_loss_weight", str(found.student_loss_weight))
    given = "teacher" if teacher.endswith(listing.NOT_SHIPPED) else ""
    table.add_row("in Python", f'kdzoo.pair("{name}").distiller({given})')
    terminal.show(table)


def _check_output(output, expected):
    """Raises unless this is a file of a kind that can be written, and a new one.

    What stands there may be a model that took days to train; said before Keras starts.
    """
    if output.suffix not in expected.split(" or "):
        raise ValueError(f"Expected a {expected} file to write. Received: {output}")
    if output.exists():
        raise ValueError(f"Expected a new file to write. Received: {output}, which exists.")
    check_parents(output)


def _as_shape(text):
    try:
        shape = tuple(int(part) for part in text.split(","))
    except ValueError:
        shape = ()
    if len(shape) != 3:
        raise ValueError(
            "Expected --input-shape as height,width,channels, e.g. 32,32,3. Received: "
            f"--input-shape={text}"
        )
    return shape


def _save(model, output):
    from kdzoo.graph.saving import save_model

    save_model(model, output)
    typer.echo(
        f"Wrote {output}: {model.name}, {model.count_params():,} parameters, images "
        f"{model.input_shape[1:]}, {model.output_shape[-1]} classes."
    )
