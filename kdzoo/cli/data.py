"""`kdzoo data export`: a data set as .npy files, for machines without TensorFlow."""

import pathlib
import typing
from typing import Annotated

import typer

from kdzoo.cli import terminal

if typing.TYPE_CHECKING:
    from kdzoo.data import Dataset

app = typer.Typer(help="Prepare data sets.", invoke_without_command=True, rich_markup_mode=None)

DataDir = Annotated[
    pathlib.Path | None,
    typer.Option(help="Where data sets lie; TFDS_DATA_DIR or the place tfds chooses if left out."),
]


@app.callback()
def _group(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command("export")
def export(
    name: Annotated[str, typer.Argument(help="Name of a data set, e.g. cifar10.")],
    directory: Annotated[pathlib.Path, typer.Argument(help="A new or an empty directory.")],
    data_dir: DataDir = None,
) -> None:
    """Write a data set as .npy files.

    Any machine with NumPy reads them, TensorFlow or not.
    """
    import kdzoo.data

    if name != "digits":
        terminal.start_keras()
    with terminal.working(f"Exporting {name}"):
        kdzoo.data.export(name, directory, data_dir)
    size = sum(file.stat().st_size for file in directory.iterdir())
    typer.echo(
        f"Wrote {name} to {directory} ({size:,} bytes); the path serves as a data set's name."
    )


def load(name: str, data_dir: pathlib.Path | None = None) -> "Dataset":
    """Returns the data set of a name, or in an exported directory; shows that it is being read."""
    import kdzoo.data

    with terminal.working(f"Loading {name}"):
        return kdzoo.data.load(name, data_dir=data_dir)
