"""Data sets as commands take them, and `kdzoo data export`, which writes one as .npy files."""

import os
import pathlib
import re
import typing
import warnings
from typing import Annotated, Any

import typer

from kdzoo.cli import terminal
from kdzoo.cli.help_texts import Command
from kdzoo.utils import shown

if typing.TYPE_CHECKING:
    from kdzoo.data import Dataset

app = typer.Typer(help="Prepare data sets.", invoke_without_command=True, rich_markup_mode=None)

DataDir = Annotated[
    pathlib.Path | None,
    typer.Option(
        help="Look for data sets here, and prepare them here.",
        show_default="TFDS_DATA_DIR, or the place that tfds chooses",
    ),
]
ImageSize = Annotated[
    str | None,
    typer.Option(
        help="Give a folder's images this size: a side in pixels, or HEIGHTxWIDTH.",
        show_default="the model's own",
    ),
]
Crop = Annotated[
    bool,
    typer.Option("--crop", help="Crop a folder's images to that shape instead of stretching them."),
]
_SIZE = re.compile(r"(\d{1,5})(?:[x,](\d{1,5}))?")
_EXPORTED = "dataset.json"  # In a directory of an export; its module would start Keras.
FOLDER = "a folder of images by class"


@app.callback()
def _group(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command("export", cls=Command)
def export(
    name: Annotated[str, typer.Argument(help=f"A data set, e.g. cifar10, or {FOLDER}.")],
    directory: Annotated[
        pathlib.Path, typer.Argument(help="The new or empty directory to write to.")
    ],
    data_dir: DataDir = None,
    image_size: ImageSize = None,
    crop: Crop = False,
) -> None:
    """Write a data set as .npy files.

    Any machine with NumPy reads them, TensorFlow or not.
    """
    from kdzoo.data import npy

    check(name, image_size, crop, data_dir)
    if is_folder(name) and image_size is None:
        raise without_size(name)
    npy.check_empty(directory)
    import kdzoo.data

    if name != "digits":
        terminal.start_keras()
    folder = load(name, data_dir, image_size, None, crop) if is_folder(name) else None
    with terminal.working(f"Exporting {name}"):
        kdzoo.data.export(folder or name, directory, data_dir)
    size = sum(file.stat().st_size for file in directory.iterdir())
    typer.echo(
        f"Wrote {name} to {directory} ({size:,} bytes); the path serves as a data set's name."
    )


def check(
    name: str,
    image_size: str | None = None,
    crop: bool = False,
    data_dir: pathlib.Path | None = None,
) -> None:
    """Raises `ValueError` for what cannot be data, or is given beside it in vain; without Keras.

    Args:
        name: The name or the path.
        image_size: What was given as `--image-size`.
        crop: Whether a folder's images are to be cropped.
        data_dir: What was given as `--data-dir`.
    """
    if not is_folder(name):
        if image_size is not None or crop:
            raise ValueError(
                f"Expected {FOLDER} beside --image-size and --crop. Received: {name!r}, "
                f"{what_else(name)}"
            )
        if name.startswith((".", "~", "/")) and not pathlib.Path(name).expanduser().is_dir():
            raise FileNotFoundError(
                f"Expected the name of a data set, a directory of an export, or {FOLDER}. "
                f"Received: {name!r}, which is no directory"
            )
    elif image_size is not None and not _SIZE.fullmatch(image_size):
        raise ValueError(
            "Expected --image-size to be a side in pixels, as 96, or HEIGHTxWIDTH, as 96x128. "
            f"Received: {shown(image_size)}"
        )
    elif data_dir is not None:
        raise ValueError(
            "Expected the name of a data set beside --data-dir, where data sets are prepared. "
            f"Received: {name}, {FOLDER}"
        )


def load(
    name: str,
    data_dir: pathlib.Path | None = None,
    image_size: str | None = None,
    model: Any = None,
    crop: bool = False,
) -> "Dataset":
    """Returns the data set of a name, an exported directory or a folder of images.

    It shows that it is being read.

    Args:
        name: The name or the path.
        data_dir: Where data sets lie.
        image_size: Of a folder's images, as `--image-size` has it; None for the model's own.
        model: A `keras.Model` or a `LiteRTModel`, or None.
        crop: Whether a folder's images are cropped to the aspect ratio.
    """
    import kdzoo.data

    check(name, image_size, crop, data_dir)
    if not is_folder(name):
        note_of_folder(name)
        with terminal.working(f"Loading {name}"):
            return kdzoo.data.load(name, data_dir=data_dir)
    shape = _own_shape(model)
    size = size_of(image_size, name, shape)
    with (
        terminal.working(f"Reading {name}"),
        warnings.catch_warnings(record=True) as said,
    ):
        warnings.simplefilter("always")
        loaded = kdzoo.data.from_directory(
            pathlib.Path(name).expanduser(),
            size,
            crop_to_aspect_ratio=crop,
            color_mode="grayscale" if shape[2:] == (1,) else "rgb",
        )
    for warning in said:
        typer.echo(f"Note: {warning.message}", err=True)
    return loaded


def is_folder(name: str) -> bool:
    """Whether this is a folder of images: a directory that is no export, and no known name.

    A name of a data set or a recipe wins; `./name` is the folder.
    """
    path = pathlib.Path(name).expanduser()
    return not is_known(name) and path.is_dir() and not (path / _EXPORTED).is_file()


def is_known(name: str) -> bool:
    """Whether this is the name of a data set or a recipe."""
    from kdzoo.data.catalog import DATASETS
    from kdzoo.recipes import RECIPES

    return name in DATASETS or name in RECIPES


def plain_name(name: str) -> str:
    """Returns what data are known by, however the path of a folder or of an export is spelled.

    Args:
        name: The name or the path: "photos", "./photos", "photos/" and its absolute path are one.
    """
    path = pathlib.Path(name).expanduser()
    if not is_folder(name) and not (path / _EXPORTED).is_file():
        return name
    plain = os.path.relpath(path)
    return f"./{plain}" if is_known(plain) else plain


def what_else(name: str) -> str:
    """Says what a name is that is no folder of images."""
    if not pathlib.Path(name).is_dir():
        return "which is no folder"
    if (pathlib.Path(name) / _EXPORTED).is_file():
        return "an export, whose images have their size"
    return f"a known name; ./{name} is the folder"


def note_of_folder(name: str) -> None:
    """Says that a known name wins where a folder of images has it too."""
    path = pathlib.Path(name)
    if path.is_dir() and not is_folder(name) and not (path / _EXPORTED).is_file():
        typer.echo(f"Note: {name} is the known name; ./{name} is the folder.", err=True)


def size_of(given: str | None, name: str, shape: tuple[int | None, ...] = ()) -> tuple[int, int]:
    """Returns height and width that a folder's images are given.

    Args:
        given: What was given as `--image-size`.
        name: The folder.
        shape: Of the images that a model takes; () where there is none.

    Raises:
        ValueError: If it is no size, or nothing tells.
    """
    if given is not None:
        found = re.split("[x,]", given)
        return int(found[0]), int(found[-1])
    height, width = shape[:2] if len(shape) == 3 else (None, None)
    if height is None or width is None:
        raise without_size(name)
    return height, width


def without_size(name: str) -> ValueError:
    """Returns the error for a folder of images that nothing gives a size."""
    return ValueError(
        f"Expected --image-size for {name}, {FOLDER}, as no model tells which size it takes. "
        "Received: none"
    )


def _own_shape(model: Any) -> tuple[int | None, ...]:
    """The shape of one sample that a model takes; () where it is not known."""
    from kdzoo.graph.exportable import shape_model

    found = model if isinstance(getattr(model, "inputs", None), tuple) else shape_model(model)
    inputs = [] if found is None else found.inputs
    return tuple(inputs[0].shape[1:]) if len(inputs) == 1 else ()
