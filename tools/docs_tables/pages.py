"""Writes the tables of README.md and docs/ from what was measured.

python -m tools.docs_tables            writes them
python -m tools.docs_tables --check    names the pages that differ, and writes nothing

A page says where a table goes by two lines, between which nothing is written by hand:

    <!-- table: NAME -->
    <!-- end of NAME -->

NAME is a function of `tools/docs_tables/zoo_and_recipe_tables.py`.
"""

import argparse
import difflib
import pathlib
import re
from collections.abc import Sequence

from kdzoo.utils import write_text
from tools.docs_tables.content import ROOT, Table
from tools.docs_tables.zoo_and_recipe_tables import TABLES

_PLACE = re.compile(r"<!-- table: (\w+) -->\n(?:.*?\n)??<!-- end of (\w+) -->", re.DOTALL)


def markdown(table: Table) -> str:
    """Returns a table in Markdown, its columns padded and figures aligned to the right.

    Args:
        table: Rows of cells, the header first; all rows have as many cells.
    """
    columns = list(zip(*table, strict=True))
    right = [all(map(_is_figure, column[1:])) for column in columns]
    widths = [max(3, *(len(cell) for cell in column)) for column in columns]
    rule = ["-" * (w - 1) + ":" if r else "-" * w for w, r in zip(widths, right, strict=True)]
    return "\n".join(
        "| "
        + " | ".join(
            cell.rjust(width) if is_right else cell.ljust(width)
            for cell, width, is_right in zip(row, widths, right, strict=True)
        )
        + " |"
        for row in (table[0], rule, *table[1:])
    )


def _is_figure(cell: str) -> bool:
    """Whether a cell holds a figure, or what stands where there is none."""
    return cell in ("", "diverged") or cell[0] in "+-0123456789"


def fill(text: str) -> str:
    """Returns a page with all its tables written anew.

    Raises:
        ValueError: If a table is not known, or the two lines around one do not match.
    """

    def filled(place: re.Match) -> str:
        name, end = place.groups()
        if name != end or name not in TABLES:
            near = difflib.get_close_matches(name, TABLES, 1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ValueError(
                "Expected a table of tools/docs_tables/zoo_and_recipe_tables.py. Received: "
                f"{place[0]!r}.{hint}"
            )
        return f"<!-- table: {name} -->\n{markdown(TABLES[name]())}\n<!-- end of {name} -->"

    made, count = _PLACE.subn(filled, text)
    marks = text.count("<!-- table: "), text.count("<!-- end of ")
    if marks != (count, count):
        raise ValueError(
            f"Expected every table to begin with `<!-- table: NAME -->` and to end with `<!-- end "
            f"of NAME -->`. Received: {marks[0]} beginnings and {marks[1]} ends"
        )
    return made


def pages(root: pathlib.Path) -> dict[pathlib.Path, str]:
    """Returns path -> content, tables written anew, of the README and every page of docs/.

    Raises:
        ValueError: If `fill` refuses a page, which the message names.
    """
    made = {}
    for path in (root / "README.md", *sorted((root / "docs").rglob("*.md"))):
        try:
            made[path] = fill(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the pages that differ, or with `--check` returns 1 if there are any."""
    parser = argparse.ArgumentParser(prog="python -m tools.docs_tables")
    parser.add_argument("--check", action="store_true", help="write nothing")
    parser.add_argument("--root", type=pathlib.Path, default=ROOT, help="of README.md and docs/")
    given = parser.parse_args(arguments)
    try:
        made = pages(given.root)
    except ValueError as error:
        parser.exit(1, f"{error}\n")
    differing = [path for path in made if path.read_text(encoding="utf-8") != made[path]]
    for path in differing:
        print(path)
        if not given.check:
            write_text(path, made[path])
    return 1 if given.check and differing else 0
