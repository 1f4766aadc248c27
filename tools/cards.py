"""The cards of the zoo and the table in the README, written anew from the manifest.

python -m tools.cards            writes them
python -m tools.cards --check    says which are not as the manifest has it
"""

import argparse
import pathlib
import sys

from kdzoo.utils import write_text
from kdzoo.zoo.cards import table, write_card
from kdzoo.zoo.manifest import read_manifest

START, END = "<!-- zoo: from zoo_weights/manifest.json by `make cards` -->", "<!-- end of zoo -->"


def pages(directory, readme):
    """Returns path -> content of every card and of the README with its table.

    Args:
        directory: The zoo's directory, with a manifest.
        readme: Path of the README, which has the two lines that the table goes between; or None.
    """
    directory, rows = pathlib.Path(directory), read_manifest(directory)
    made = {
        directory / "cards" / f"{row.name.replace('/', '-')}.md": write_card(row)
        for row in rows.values()
    }
    if readme is not None:
        text = pathlib.Path(readme).read_text(encoding="utf-8")
        before, start, rest = text.partition(START)
        _, end, after = rest.partition(END)
        if not start or not end:
            raise ValueError(f"Expected the lines {START!r} and {END!r} in {readme}.")
        made[pathlib.Path(readme)] = f"{before}{START}\n{table(rows.values())}\n{END}{after}"
    return made


def drifted(directory, readme):
    """Returns the paths that are not as the manifest has it, cards of models long gone included."""
    made = pages(directory, readme)
    differing = [
        path
        for path, content in made.items()
        if not path.exists() or path.read_text(encoding="utf-8") != content
    ]
    return differing + [
        path for path in (pathlib.Path(directory) / "cards").glob("*.md") if path not in made
    ]


def main(arguments=None):
    """Writes the cards and the README's table, or with `--check` returns 1 if they drifted."""
    parser = argparse.ArgumentParser(prog="python -m tools.cards")
    parser.add_argument("--check", action="store_true", help="write nothing")
    parser.add_argument("--directory", default="zoo_weights", type=pathlib.Path)
    parser.add_argument("--readme", default="README.md", type=pathlib.Path)
    given = parser.parse_args(arguments)
    try:
        made = pages(given.directory, given.readme)
    except (ValueError, FileNotFoundError) as error:
        parser.exit(1, f"{error}\n")
    for path in drifted(given.directory, given.readme):
        print(path)
        if given.check:
            continue
        if path in made:
            write_text(path, made[path])
        else:
            path.unlink()
    return 1 if given.check and drifted(given.directory, given.readme) else 0


if __name__ == "__main__":
    sys.exit(main())
