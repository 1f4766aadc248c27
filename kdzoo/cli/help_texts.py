"""Help texts that show a default as it is: Typer puts one that is said in words into brackets."""

from typing import Any

import typer.core


class Command(typer.core.TyperCommand):
    """A command whose help says `[default: 3]`, where Typer's says `[default: (3)]`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for parameter in self.params:
            if isinstance(getattr(parameter, "show_default", None), str):
                _show_plain_default(parameter)


def _show_plain_default(parameter: Any) -> None:
    usual, default = parameter.get_help_record, parameter.show_default

    def record(context: Any) -> tuple[str, str] | None:
        found = usual(context)
        return found and (
            found[0],
            found[1].replace(f"default: ({default})", f"default: {default}"),
        )

    parameter.get_help_record = record
