"""Data sets as a directory of .npy files, which any machine with NumPy can read."""

import pathlib
import types

import numpy as np

from kdzoo.data import image_checks
from kdzoo.data.dataset import Dataset
from kdzoo.data.hold_out import hold_out
from kdzoo.data.npy_file import REMEDY, damaged, read_array
from kdzoo.data.split import Split
from kdzoo.utils import atomic_path, check_path, check_writable, digest_of_file, read_object
from kdzoo.utils.field_checks import check_types, is_sha256
from kdzoo.utils.hashed_json import check_hash, hashed_json
from kdzoo.utils.types import PathLike

METADATA = "dataset.json"
_FORMAT = 1
_CHECKSUM = "metadata_sha256"
_REQUIRED = {"name": str, "class_names": list, "scale": int, "arrays": dict}
_OPTIONAL = ("version", "sha256", _CHECKSUM)  # Not in directories of earlier versions.


def is_exported(directory: PathLike) -> bool:
    """Returns whether a directory holds a data set that `write` wrote."""
    return (pathlib.Path(directory) / METADATA).is_file()


def name_of(directory: PathLike) -> str:
    """Returns the name of the data set that a directory holds."""
    return _read_metadata(pathlib.Path(directory))["name"]


def check_empty(directory: PathLike) -> pathlib.Path:
    """Returns a directory as a path; raises `FileExistsError` if there is something in it."""
    path = check_path("directory", directory)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise FileExistsError(
            "Expected a new or an empty directory; remove this one first or choose another. "
            f"Received: directory={str(path)!r}"
        )
    check_writable(path)
    return path


def write(data: Dataset, directory: PathLike) -> pathlib.Path:
    """Writes a `Dataset` as .npy files, all or nothing.

    The directory gets `dataset.json`, `train_images.npy` (uint8, validation samples included),
    `train_labels.npy` (int32), the same for `test` and for validation images of their own, or
    `validation_indices.npy`, which says which of the training images are for validation. The
    SHA-256 of each file stands in `dataset.json`, and that of its own content.

    Args:
        data: The `Dataset`.
        directory: Where to write, a directory that does not exist or is empty.

    Returns:
        The directory, a `pathlib.Path`.

    Raises:
        FileExistsError: If the directory is not empty.
        ValueError: If the images are not uint8, or white is no integer of theirs.
    """
    path = check_empty(directory)
    arrays, scale = _arrays_of(data), data.train.scale
    if scale != int(scale) or not 1 <= scale <= 255:
        raise ValueError(
            "Expected a data set whose white is an integer from 1 to 255, as images of bytes have "
            f"it. Received: scale={scale}"
        )
    metadata = {
        "format": _FORMAT,
        "name": data.name,
        "version": data.version,
        "class_names": list(data.class_names),
        "scale": int(scale),
        "arrays": {name: list(array.shape) for name, array in arrays.items()},
    }
    size = sum(array.nbytes for array in arrays.values())
    with atomic_path(path, size) as temporary:
        temporary.mkdir()
        for name, array in arrays.items():
            _save(temporary / f"{name}.npy", array)
        metadata["sha256"] = {name: digest_of_file(temporary / f"{name}.npy") for name in arrays}
        (temporary / METADATA).write_bytes(hashed_json(metadata, _CHECKSUM, indent=2))
    return path


def _save(path, array):
    """Writes an array as a .npy file; of a full disk the system's own error says so.

    `np.save` gives a file that it knows to C, whose error then says how much it wrote and not why.
    """
    with open(path, "wb") as file:
        np.save(types.SimpleNamespace(write=file.write), array, allow_pickle=False)


def read(directory: PathLike, validation: float | None = None) -> Dataset:
    """Reads a data set that `write` wrote.

    Args:
        directory: Directory that holds `dataset.json`.
        validation: Fraction of the training images to hold out. None: as it was when it was
            written.

    Returns:
        The `Dataset`.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is damaged, or not what `write` writes.
    """
    path = pathlib.Path(directory)
    metadata = _read_metadata(path)
    known = metadata.get("sha256", {})
    arrays = {
        name: _read_array(path, name, shape, known.get(name))
        for name, shape in metadata["arrays"].items()
    }
    name, scale, class_names = metadata["name"], metadata["scale"], tuple(metadata["class_names"])
    splits = {}
    for part in ("train", "validation", "test"):
        if f"{part}_images" in arrays:
            images, labels = arrays[f"{part}_images"], arrays[f"{part}_labels"]
            shape = arrays["train_images"].shape[1:]
            labels = _check(path, part, images, labels, shape, len(class_names), scale)
            splits[part] = Split(images, labels, scale, None, name)
    train, held_out = splits["train"], splits.get("validation")
    if "validation_indices" in arrays:
        chosen = arrays["validation_indices"]
        _check_indices(path, chosen, len(train))
        held_out = train.subset(chosen)
        if validation is None:
            train = train.subset(np.setdiff1d(np.arange(len(train)), chosen))
    if validation is not None:
        train, held_out = hold_out(train, validation)
    return Dataset(name, class_names, train, held_out, splits.get("test"), metadata.get("version"))


def _arrays_of(data):
    """Returns the arrays to write, by file name without suffix."""
    train, held_out = data.train, data.validation
    arrays = {}
    if held_out is not None and held_out.images is train.images and _are_apart(train, held_out):
        used = np.union1d(_indices(train), _indices(held_out))
        whole = Split(train.images, train.labels, train.scale, used, train.name)
        arrays["train_images"], arrays["train_labels"] = whole.examples(np.arange(len(whole)))
        arrays["validation_indices"] = np.searchsorted(used, _indices(held_out))
        held_out = None
    for part, split in (("train", train), ("validation", held_out), ("test", data.test)):
        if split is not None and f"{part}_images" not in arrays:
            arrays[f"{part}_images"], arrays[f"{part}_labels"] = split.examples(
                np.arange(len(split))
            )
    for name, array in arrays.items():
        if name.endswith("_images") and array.dtype != np.uint8:
            raise ValueError(
                "Expected uint8 images to export; convert them with `(images * "
                f"255).round().astype('uint8')`. Received: {name} of type {array.dtype}."
            )
    return arrays


def _are_apart(*splits):
    """Whether splits of the same arrays take no sample twice, each in the order of the arrays."""
    chosen = [_indices(split) for split in splits]
    in_order = all((np.diff(indices) > 0).all() for indices in chosen)
    return in_order and np.intersect1d(*chosen).size == 0


def _indices(split):
    return np.arange(len(split)) if split.indices is None else split.indices


def _read_metadata(directory):
    path = directory / METADATA
    try:
        metadata = read_object(path, "the description of a data set")
    except FileNotFoundError:
        raise FileNotFoundError(
            "Expected a directory that `kdzoo data export NAME DIR` wrote, with a file "
            f"{METADATA!r}; `kdzoo.data.from_directory` reads a folder of images. Received: "
            f"directory={str(directory)!r}"
        ) from None
    if metadata.get("format") != _FORMAT or isinstance(metadata["format"], bool):
        raise damaged(path, f"it is not of format {_FORMAT}")
    try:
        check_types(metadata, _REQUIRED)
    except ValueError as error:
        raise damaged(path, error) from error
    unknown = sorted(metadata.keys() - {"format", *_REQUIRED, *_OPTIONAL})
    if unknown:  # Such as a name in which a letter is another.
        raise damaged(path, f"it has {unknown[0]!r}, which is unknown")
    if metadata.get(_CHECKSUM) is not None:
        check_hash(path, metadata, REMEDY, _CHECKSUM)
    if not isinstance(metadata.get("version"), str | None):
        raise damaged(path, f"its version is {metadata['version']!r} instead of text")
    if not 1 <= metadata["scale"] <= 255:
        raise damaged(path, f"its scale is {metadata['scale']} instead of 1 to 255")
    names = metadata["class_names"]
    if not all(isinstance(name, str) for name in names):
        raise damaged(path, "a class name is no text")
    if not names:  # Two classes may bear one name, as ImageNet's cranes do.
        raise damaged(path, "it names no class")
    _check_arrays(path, metadata["arrays"])
    _check_hashes(path, metadata)
    return metadata


def _check_hashes(path, metadata):
    """Raises unless there is a hash for each array, or, as in earlier directories, none at all."""
    hashes = metadata.get("sha256", {})
    if not isinstance(hashes, dict):
        raise damaged(path, "its checksums are no dictionary")
    if hashes and hashes.keys() != metadata["arrays"].keys():
        raise damaged(path, f"it has checksums of {sorted(hashes)}")
    for name, sha256 in hashes.items():
        if not is_sha256(sha256):
            raise damaged(path, f"the checksum of {name!r} is none")


def _check_arrays(path, arrays):
    """Raises unless the arrays that the metadata list make a data set."""
    names = {"train_images", "train_labels", "test_images", "test_labels"}
    optional = {"validation_images", "validation_labels", "validation_indices"}
    present = set(arrays)
    pairs = all(
        (f"{part}_images" in present) == (f"{part}_labels" in present)
        for part in ("test", "validation")
    )
    if not {"train_images", "train_labels"} <= present <= names | optional or not pairs:
        raise damaged(path, f"it lists the arrays {sorted(present)}")
    for name, shape in arrays.items():
        if not isinstance(shape, list):
            raise damaged(path, f"the shape of {name!r} is {shape!r} instead of a list")
        if not all(type(size) is int and size >= 0 for size in shape):
            raise damaged(path, f"the shape of {name!r} is {shape!r} instead of sizes")


def _read_array(directory, name, shape, sha256=None):
    path = directory / f"{name}.npy"
    kind, words = (np.uint8, "uint8") if name.endswith("_images") else (np.integer, "integers")

    def is_wanted(dtype):
        if not np.issubdtype(dtype, kind):
            raise ValueError(f"it holds {dtype} instead of {words}")

    try:
        return read_array(path, shape, is_wanted, sha256)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"Expected {path.name!r} in {str(directory)!r}, because {METADATA!r} lists it; write "
            "the directory again with `kdzoo data export NAME DIR`."
        ) from None


def _check(directory, part, images, labels, shape, classes, scale):
    """Returns the labels of one split, or raises when its arrays do not belong together."""
    path = directory / f"{part}_images.npy"
    if images.ndim != 4:
        raise damaged(path, f"its images have {images.ndim - 1} dimensions instead of 3")
    if images.shape[1:] != shape:
        raise damaged(path, f"its images are {images.shape[1:]}, those to train on {shape}")
    try:
        image_checks.check_images(images)
        labels = image_checks.check_labels(labels, classes, len(images))
    except ValueError as error:
        raise damaged(path, error) from error
    if images.max() > scale:
        raise damaged(path, f"a pixel is above {scale}")
    return labels


def _check_indices(directory, chosen, count):
    """Raises unless the indices choose some of the training images, each once, and leave others."""
    reason = None
    if chosen.ndim != 1 or not 0 < len(chosen) < count:
        reason = f"its shape is {chosen.shape} instead of 1 to {count - 1} indices"
    elif chosen.min() < 0 or chosen.max() >= count:
        reason = "an index is out of range"
    elif len(np.unique(chosen)) < len(chosen):
        reason = "an index is there twice"
    if reason:
        raise damaged(directory / "validation_indices.npy", reason)
