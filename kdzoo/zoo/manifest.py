"""What the zoo has trained: a row for each pretrained model, read from `manifest.json`."""

import copy
import dataclasses
import functools
import itertools
import json
import pathlib

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
from kdzoo.zoo.manifest_row import check_row
from kdzoo.zoo.weights import check_within

VERSION = 1  # Of the manifest's own form.


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
    """A pretrained model: what it is, where its files are, what was measured of it.

    Attributes:
        name: `"architecture/data set"`, and `"/int8"` or `"/sparse_80"` where it is compressed.
        architecture: The name that `kdzoo.create` knows.
        arguments: Further arguments of its builder.
        dataset: Name of the data set that it was trained on.
        classes: Number of classes.
        input_shape: (height, width, channels) of an image.
        labels: The names of the classes, in the order of the logits.
        role: `"teacher"` or `"student"`.
        files: `"weights"`, and `"tflite"` where one is shipped, each with its `File`.
        training: How it was trained: recipe, kind, command, seeds, epochs, teacher.
        measured: What the card says of it: accuracy, bytes, latency and so on.
        licence: Of the weights, an SPDX identifier.
    """

    name: str
    architecture: str
    arguments: dict
    dataset: str
    classes: int
    input_shape: tuple
    labels: tuple
    role: str
    files: dict
    training: dict
    measured: dict
    licence: str = "Apache-2.0"

    @property
    def family(self):
        """The family of its architecture, e.g. `"separable"`."""
        from kdzoo.zoo.registry import architecture

        return architecture(self.architecture).family


def weights_directory():
    """Returns the directory of the weights that come with kdzoo, a `pathlib.Path`."""
    package = pathlib.Path(__file__).parents[1]
    installed = package / "zoo_weights"
    return installed if installed.is_dir() else package.parent / "zoo_weights"  # Of a checkout.


def directory_of(given):
    """Returns the directory that was given, or the one that comes with kdzoo for None, a path."""
    return weights_directory() if given is None else check_path("directory", given)


def read_manifest(directory=None):
    """Returns name -> `Pretrained` of a directory with a `manifest.json`.

    Args:
        directory: The directory; the one that comes with kdzoo when None.

    Raises:
        FileNotFoundError: If there is no manifest.
        ValueError: If it was altered, or is of a newer version of kdzoo.
    """
    # Copied, as rows consist of dictionaries, which whoever asked for them may change.
    return copy.deepcopy(_read(directory))


def _read(directory):
    """The rows that all readers share."""
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


def find(name, directory=None):
    """Returns the `Pretrained` of this name.

    Args:
        name: A name in `list_pretrained()`.
        directory: As in `read_manifest`.

    Raises:
        FileNotFoundError: If there is no manifest.
        ValueError: If there is no such model, where the nearest is suggested, or as in
            `read_manifest`.
    """
    rows = _read(directory)
    check_choice("pretrained model", name, rows, list(rows)[:5])
    return copy.deepcopy(rows[name])


def check_classes(row, data, what="model"):
    """Raises `ValueError` unless a pretrained model knows the classes of some data, in their order.

    Args:
        row: The `Pretrained`.
        data: The `kdzoo.data.Dataset`.
        what: What an error calls the model.
    """
    for wanted, label in itertools.zip_longest(data.class_names, row.labels):
        if wanted != label:
            raise ValueError(
                f"Expected a {what} of the {data.classes} classes of {data.name!r}. Received: "
                f"{row.name!r}, of {row.classes}; where one has {wanted!r}, the other has {label!r}"
            )


def list_pretrained(dataset=None, family=None, directory=None):
    """Returns the names that `load` knows, data set by data set.

    Args:
        dataset: Only those trained on this data set, e.g. `"cifar10"`; all when None.
        family: Only those of this family, e.g. `"separable"`; all when None.
        directory: Where weights and manifest are; those that come with kdzoo when None.

    Returns:
        A list of names such as `"mlp_2x800/mnist"`.

    Raises:
        FileNotFoundError: If the directory has no manifest.
        ValueError: If there is nothing of that data set or family, where the nearest is suggested,
            or as in `read_manifest`.
    """
    rows = _read(directory).values()
    for kind, wanted, field in (("data set", dataset, "dataset"), ("family", family, "family")):
        if wanted is not None:
            known = {getattr(row, field) for row in rows}
            check_choice(f"{kind} with pretrained models", wanted, known)
    return [
        row.name
        for row in rows
        if dataset in (None, row.dataset) and (family is None or row.family == family)
    ]


def write_manifest(rows, directory):
    """Writes a manifest, whole or not at all.

    Args:
        rows: Iterable of `Pretrained`.
        directory: Where it goes.

    Raises:
        ValueError: If a row is none that `read_manifest` would take; nothing is written then.
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
    """A `Pretrained` from what JSON holds of it; raises if a field is of another kind."""
    check_row(fields)
    values = {
        "files": {kind: File(**file) for kind, file in fields["files"].items()},
        "input_shape": tuple(fields["input_shape"]),
        "labels": tuple(fields["labels"]),
    }
    return Pretrained(**{**fields, **values})
