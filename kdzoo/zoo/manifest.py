"""What the zoo has trained: a row for each pretrained model, read from `manifest.json`."""

import copy
import dataclasses
import functools
import itertools
import json
import pathlib
from collections.abc import Iterable
from typing import Any, Literal

from kdzoo.utils import (
    check_choice,
    check_path,
    check_regular,
    first_line,
    read_object,
    shown,
    write_bytes,
)
from kdzoo.utils.hashed_json import check_hash, hashed_json
from kdzoo.utils.types import PathLike
from kdzoo.zoo.hashed_files import check_within
from kdzoo.zoo.manifest_row import check_row
from kdzoo.zoo.registry import architecture

VERSION = 1  # The version of the manifest's format.


@dataclasses.dataclass(frozen=True)
class File:
    """A file of a pretrained model.

    Attributes:
        file: Its name, beside the manifest.
        sha256: Its hash in hexadecimal.
        bytes: Its size.
    """

    file: str
    sha256: str
    bytes: int


@dataclasses.dataclass(frozen=True)
class Pretrained:
    """A pretrained model: what it is, which files it has, and what was measured of it.

    Attributes:
        name: `"architecture/data set"`, followed by `"/int8"`, `"/sparse_80"` or `"/kdz"` of a
            small form.
        architecture: The name of its architecture, as `kdzoo.create` takes it.
        arguments: Further arguments of its builder.
        dataset: The name of the data set that it was trained on.
        classes: Number of classes.
        input_shape: (height, width, channels) of an image.
        labels: The names of the classes, in the order of the logits.
        role: `"teacher"`, `"student"`, or `"network"` of one of several exits or widths that had
            no teacher.
        files: `"weights"`, and `"tflite"` if the model ships one -> its `File`.
        training: How it was trained: recipe, variant (`"kind"`), command, seeds, epochs, teacher.
        measured: The figures on its card: accuracy, bytes, latency and so on.
        licence: The licence of the weights, an SPDX identifier.
    """

    name: str
    architecture: str
    arguments: dict[str, Any]
    dataset: str
    classes: int
    input_shape: tuple[int, int, int]
    labels: tuple[str, ...]
    role: Literal["teacher", "student", "network"]
    files: dict[str, File]
    training: dict[str, Any]
    measured: dict[str, Any]
    licence: str = "Apache-2.0"

    @property
    def family(self) -> str:
        """The family of its architecture, e.g. `"separable"`."""
        return architecture(self.architecture).family


def weights_directory() -> pathlib.Path:
    """Returns the directory of the weights that come with kdzoo, a `pathlib.Path`."""
    package = pathlib.Path(__file__).parents[1]
    installed = package / "zoo_weights"
    return installed if installed.is_dir() else package.parent / "zoo_weights"  # A checkout.


def directory_of(directory: PathLike | None) -> pathlib.Path:
    """Returns a directory as a path; for None, that of the weights that come with kdzoo."""
    return weights_directory() if directory is None else check_path("directory", directory)


def read_manifest(directory: PathLike | None = None) -> dict[str, Pretrained]:
    """Returns name -> `Pretrained` of a directory with a `manifest.json`.

    Args:
        directory: The directory; None for the weights that come with kdzoo.

    Raises:
        FileNotFoundError: If there is no manifest.
        ValueError: If it was altered, or comes from a newer version of kdzoo.
    """
    # Copied, because rows consist of dictionaries, which a caller may change.
    return copy.deepcopy(_read(directory))


def _read(directory):
    """Returns the rows themselves, not copies."""
    path = directory_of(directory) / "manifest.json"
    try:
        check_regular(path)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"Expected a manifest.json in {path.parent}. Received: none there; reinstall kdzoo, or "
            "name the directory that holds one."
        ) from None
    check_within(path, path.parent)
    state = path.stat()
    return _rows(path, (state.st_mtime_ns, state.st_size, state.st_ino))


@functools.lru_cache(maxsize=8)
def _rows(path, _):
    what = "a manifest of pretrained models"
    content = read_object(path, what)
    if "version" not in content:
        raise ValueError(f"Expected {path} to be {what}. Received: no 'version' in it")
    version = content["version"]
    if version != VERSION or isinstance(version, bool):
        raise ValueError(
            f"Expected {path} to be a manifest of version {VERSION}. Received: "
            f"version={shown(version)}, which another kdzoo wrote; update kdzoo."
        )
    check_hash(path, content, "reinstall kdzoo, or fetch the file again", part="models")
    try:
        rows = [_row(row) for row in content["models"]]
        copy.deepcopy(rows)  # As every reader will.
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"Expected whole rows in {path}. Received: {first_line(error)}") from error
    found = {row.name: row for row in rows}
    if len(found) < len(rows):
        raise ValueError(f"Expected every row of {path} once. Received: two of one name.")
    return found


def find(name: str, directory: PathLike | None = None) -> Pretrained:
    """Returns the `Pretrained` of this name.

    Args:
        name: A name in `kdzoo.list_pretrained()`.
        directory: The directory of the manifest; None for the weights that come with kdzoo.

    Raises:
        FileNotFoundError: If there is no manifest.
        ValueError: If there is no such model, where the nearest is suggested; or if the manifest
            was altered, or comes from a newer version of kdzoo.
    """
    rows = _read(directory)
    check_choice("pretrained model", name, rows, list(rows)[:5])
    return copy.deepcopy(rows[name])


def check_classes(row: Pretrained, data: Any, what: str = "model") -> None:
    """Raises `ValueError` unless a pretrained model has the classes of a data set, in their order.

    Args:
        row: The `Pretrained`.
        data: The `kdzoo.data.Dataset`.
        what: What the error calls the model, e.g. `"teacher"`.
    """
    for wanted, label in itertools.zip_longest(data.class_names, row.labels):
        if wanted != label:
            raise ValueError(
                f"Expected a {what} of the {data.classes} classes of {data.name!r}. Received: "
                f"{row.name!r}, of {row.classes}; where one has {wanted!r}, the other has {label!r}"
            )


def list_pretrained(
    dataset: str | None = None,
    family: str | None = None,
    directory: PathLike | None = None,
) -> list[str]:
    """Returns the names that `kdzoo.load` knows, data set by data set.

    Args:
        dataset: Only models trained on this data set, e.g. `"cifar10"`; all when None.
        family: Only models of this family, e.g. `"separable"`; all when None.
        directory: The directory of the weights and their manifest; None for the weights that come
            with kdzoo.

    Returns:
        A list of names such as `"mlp_2x800/mnist"`; empty if no model is of both the data set and
        the family.

    Raises:
        FileNotFoundError: If the directory has no manifest.
        ValueError: If there is no model of that data set or family, where the nearest is suggested;
            or if the manifest was altered, or comes from a newer version of kdzoo.

    Example:

    >>> "separable_050/cifar10" in list_pretrained("cifar10", family="separable")
    True
    """
    rows = _read(directory).values()
    for what, wanted, field in (("data set", dataset, "dataset"), ("family", family, "family")):
        if wanted is not None:
            known = {getattr(row, field) for row in rows}
            check_choice(f"{what} with pretrained models", wanted, known)
    return [
        row.name
        for row in rows
        if dataset in (None, row.dataset) and (family is None or row.family == family)
    ]


def write_manifest(rows: Iterable[Pretrained], directory: PathLike) -> None:
    """Writes `manifest.json`, whole or not at all.

    Args:
        rows: The `Pretrained` models.
        directory: The directory of their files.

    Raises:
        ValueError: If `read_manifest` would refuse a row; nothing is written then.
    """
    models = [dataclasses.asdict(row) for row in rows]
    for row in json.loads(json.dumps(models)):
        try:
            check_row(row)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"Expected rows of pretrained models. Received: {shown(row.get('name'))} with "
                f"{first_line(error)}"
            ) from error
    content = {"version": VERSION, "sha256": None, "models": models}
    path = pathlib.Path(directory) / "manifest.json"
    write_bytes(path, hashed_json(content, part="models"))


def _row(fields):
    """Returns the `Pretrained` of a row in JSON; raises if a field has another type."""
    check_row(fields)
    values = {
        "files": {name: File(**file) for name, file in fields["files"].items()},
        "input_shape": tuple(fields["input_shape"]),
        "labels": tuple(fields["labels"]),
    }
    return Pretrained(**{**fields, **values})
