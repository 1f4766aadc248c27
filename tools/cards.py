"""The cards of the zoo, written anew from the manifest.

python -m tools.cards            writes them
python -m tools.cards --check    names those that are not as the manifest has it

The tables of the README and of docs/ follow from the manifest too: `python -m tools.docs_tables`.
"""

import argparse
import pathlib
import sys
from collections.abc import Sequence

from kdzoo.utils import write_text
from kdzoo.zoo.cards import shipped_forms, write_card
from kdzoo.zoo.manifest import read_manifest


def pages(directory: pathlib.Path) -> dict[pathlib.Path, str]:
    """Returns path -> content of every card.

    Args:
        directory: The zoo's directory, with a manifest.
    """
    rows = read_manifest(directory)
    return {
        directory / "cards" / f"{row.name.replace('/', '-')}.md": write_card(
            row, shipped_forms(row, rows)
        )
        for row in rows.values()
    }


def drifted(directory: pathlib.Path) -> list[pathlib.Path]:
    """Returns the cards that are not as the manifest has it, those of models long gone included."""
    made = pages(directory)
    differing = [
        path
        for path, content in made.items()
        if not path.exists() or path.read_text(encoding="utf-8") != content
    ]
    return differing + [path for path in (directory / "cards").glob("*.md") if path not in made]


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the cards, or with `--check` returns 1 if any drifted."""
    parser = argparse.ArgumentParser(prog="python -m tools.cards")
    parser.add_argument("--check", action="store_true", help="write nothing")
    parser.add_argument("--directory", default="zoo_weights", type=pathlib.Path)
    given = parser.parse_args(arguments)
    try:
        made, paths = pages(given.directory), drifted(given.directory)
    except (ValueError, FileNotFoundError) as error:
        parser.exit(1, f"{error}\n")
    for path in paths:
        print(path)
        if given.check:
            continue
        if path in made:
            write_text(path, made[path])
        else:
            path.unlink()
    return 1 if given.check and paths else 0


if __name__ == "__main__":
    sys.exit(main())
