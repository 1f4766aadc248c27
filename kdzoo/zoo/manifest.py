"""What the zoo has trained: a row for each pretrained model, read from `manifest.json`."""

import dataclasses
import functools
import importlib.resources
import json
import pathlib

from kdzoo.utils import atomic_path, first_line, unknown_name
from kdzoo.zoo.weights import check_within

VERSION = 1  # Of the manifest's own form.
_PACKAGE = "kdzoo.zoo_weights"


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

    @property
    def family(self):
        """The family of its architecture, e.g. `"separable"`."""
        from kdzoo.zoo.registry import architecture

        return architecture(self.architecture).family


def weights_directory():
    """Returns the directory of the weights that come with kdzoo, a `pathlib.Path`."""
    try:
        return pathlib.Path(str(importlib.resources.files(_PACKAGE)))
    except ModuleNotFoundError:  # A checkout that is on the path without being installed.
        return pathlib.Path(__file__).parents[2] / "zoo_weights"


def read_manifest(directory=None):
    """Returns name -> `Pretrained` of a directory with a `manifest.json`.

    Args:
        directory: The directory; the one that comes with kdzoo when None.

    Raises:
        FileNotFoundError: If there is no manifest.
        ValueError: If it is damaged, or of a newer version of kdzoo.
    """
    path = pathlib.Path(directory or weights_directory()) / "manifest.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"Expected a manifest.json in {path.parent}. Received: none there; reinstall kdzoo, or "
            "name the directory that holds one."
        )
    check_within(path, path.parent)
    return dict(_rows(path, path.stat().st_mtime_ns))


@functools.lru_cache(maxsize=8)
def _rows(path, _):
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version = content["version"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"Expected {path} to be a manifest of pretrained models. Received: {first_line(error)}"
        ) from error
    if version != VERSION:
        raise ValueError(
            f"Expected {path} to be a manifest of version {VERSION}. Received: "
            f"version={version!r}, which another kdzoo wrote; update kdzoo."
        )
    try:
        rows = [_row(each) for each in content["models"]]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"Expected whole rows in {path}. Received: {first_line(error)}") from error
    return {row.name: row for row in rows}


def find(name, directory=None):
    """Returns the `Pretrained` of this name.

    Args:
        name: A name in `list_pretrained()`.
        directory: As in `read_manifest`.

    Raises:
        FileNotFoundError: If there is no manifest.
        ValueError: If there is no such model; the nearest is suggested.
    """
    rows = read_manifest(directory)
    if not isinstance(name, str) or name not in rows:
        raise unknown_name("pretrained model", name, rows, list(rows)[:5])
    return rows[name]


def list_pretrained(dataset=None, family=None, directory=None):
    """Returns the names that `load` knows, data set by data set.

    Args:
        dataset: Only those trained on this data set, e.g. `"cifar10"`; all when None.
        family: Only those of this family, e.g. `"separable"`; all when None.
        directory: Where weights and manifest are; those that come with kdzoo when None.

    Returns:
        A list of names such as `"mlp_2x800/mnist"`.

    Raises:
        ValueError: If there is nothing of that data set or family; the nearest is suggested.
    """
    rows = read_manifest(directory).values()
    for kind, wanted, known in (
        ("data set", dataset, {row.dataset for row in rows}),
        ("family", family, {row.family for row in rows}),
    ):
        if wanted is not None and wanted not in known:
            raise unknown_name(f"{kind} with pretrained models", wanted, known)
    return [
        row.name for row in rows if dataset in (None, row.dataset) and family in (None, row.family)
    ]


def write_manifest(rows, directory):
    """Writes a manifest, whole or not at all.

    Args:
        rows: Iterable of `Pretrained`.
        directory: Where it goes.
    """
    content = {"version": VERSION, "models": [dataclasses.asdict(row) for row in rows]}
    with atomic_path(pathlib.Path(directory) / "manifest.json") as path:
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _row(fields):
    """A `Pretrained` from what JSON holds of it; raises if a field is of another kind."""
    files = {kind: File(**each) for kind, each in fields["files"].items()}
    for file in files.values():
        _check(file.file, str)
        _check(file.sha256, str)
        _check(file.bytes, int)
        if pathlib.PurePath(file.file).name != file.file or "\\" in file.file:
            raise ValueError(f"a file elsewhere, {file.file!r}")
    for name, kind in (("name", str), ("architecture", str), ("arguments", dict), ("dataset", str)):
        _check(fields[name], kind)
    for name, kind in (("classes", int), ("input_shape", list), ("labels", list)):
        _check(fields[name], kind)
    for part in (fields["training"], fields["measured"]):
        _check(part, dict)
    if "weights" not in files:
        raise ValueError(f"a model without weights, {fields['name']!r}")
    if len(fields["labels"]) != fields["classes"]:
        raise ValueError(f"{len(fields['labels'])} labels for {fields['classes']} classes")
    _check(fields["measured"]["accuracy"]["shipped"], float)
    values = {
        "files": files,
        "input_shape": tuple(fields["input_shape"]),
        "labels": tuple(fields["labels"]),
    }
    return Pretrained(**{**fields, **values})


def _check(value, kind):
    if not isinstance(value, kind):
        raise ValueError(f"{value!r} where a {kind.__name__} belongs")
