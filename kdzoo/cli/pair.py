"""`kdzoo pair`: what a pair of a teacher and a student is made of."""

from typing import Annotated

import typer

from kdzoo.cli import completion, list_names, terminal


def pair(
    name: Annotated[
        str,
        typer.Argument(
            help="A name that `kdzoo list pairs` shows.",
            autocompletion=completion.of(completion.pairs),
        ),
    ],
) -> None:
    """Show a pair: teacher, student, data, losses."""
    from kdzoo.zoo.pair_definitions import pair_definition

    named = pair_definition(name)
    table = terminal.table("part", "what it is", title=name)
    teacher = list_names.teacher_of(named)
    table.add_row("teacher", teacher)
    table.add_row("student", terminal.architecture(named.student, named.arguments))
    table.add_row("data", f"{named.dataset}, {named.classes} classes, {named.input_shape}")
    for loss, arguments, weight in named.losses:
        table.add_row("loss", f"{weight} · {terminal.architecture(loss, arguments)}")
    table.add_row("student_loss_weight", str(named.student_loss_weight))
    given = "teacher" if teacher.endswith(list_names.NOT_SHIPPED) else ""
    table.add_row("in Python", f'kdzoo.pair("{name}").distiller({given})')
    terminal.show(table)
