"""A folder of images by class, as `keras.utils.image_dataset_from_directory` lays it out.

All images are held in memory, as bytes of one size. Batches ask a `Split` for some samples at a
time, by `Split.examples(indices)`, and nothing else of kdzoo's that trains asks for more: a split
that decodes the files of those samples when it is asked (`image_files.read_images` of some paths)
would serve folders that are larger than memory. What asks for all images at once, by
`Split.arrays()`, are measures and the calibration of an export.
"""

import hashlib
import mimetypes
import os
import pathlib
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from kdzoo.data import image_files
from kdzoo.data.catalog import DATASETS
from kdzoo.data.dataset import Dataset
from kdzoo.data.hold_out import hold_out
from kdzoo.data.image_files import ColorMode
from kdzoo.data.split import Split
from kdzoo.utils import (
    check_choice,
    check_flag,
    check_fraction,
    check_path,
    check_text,
    is_integer,
    shown,
)
from kdzoo.utils.types import PathLike

TEST_FRACTION = 0.2
_TEST_SEED = 20120930
_LARGEST_SIDE = 4096
_SPLITS = {
    "train": "train",
    "validation": "validation",
    "val": "validation",
    "valid": "validation",
    "test": "test",
}
_UNPACKED = "__MACOSX"  # What macOS adds to archives: no images, by names as images have.


def from_directory(
    directory: PathLike,
    image_size: int | tuple[int, int],
    *,
    validation: float | None = None,
    test: float | None = None,
    crop_to_aspect_ratio: bool = False,
    color_mode: ColorMode = "rgb",
    name: str | None = None,
) -> Dataset:
    """Reads a folder of images by class: PNG, JPEG, GIF (the first frame), BMP and WEBP files.

    The folder has a folder for each class, with images in it or in folders below, or folders
    `train`, `validation` (or `val`) and `test` with the class folders in each. Classes are in the
    order of their names, as `keras.utils.image_dataset_from_directory` has them. What has no folder
    of its own is held out from the training images: first test images, then validation images,
    each class in proportion, always the same as long as no image is added or removed.

    Images are resized by linear interpolation over all pixels that fall together; the alpha channel
    is left out, and of 16 bits the upper eight are kept. They stay in memory as uint8: 10,000
    images of 96x96 take 276 MB. Files whose names begin with a dot, and other files than images,
    are left out.

    Args:
        directory: The folder.
        image_size: Height and width that all images are given, in pixels, each from 1 to 4096; one
            number for both.
        validation: Fraction of the training images that is held out for validation, from 0 to below
            1; None for a tenth, or for the folder's own validation images.
        test: Fraction that is held out for testing, before the validation images, from 0 to below
            1; None for a fifth, or for the folder's own test images.
        crop_to_aspect_ratio: Whether images of another aspect ratio lose their borders; by default
            they are stretched.
        color_mode: `"rgb"`, or `"grayscale"` for images of one channel.
        name: Name of the data set; None for the folder's.

    Returns:
        A `Dataset`, whose splits have `paths`: the file of each sample, relative to the folder.

    Raises:
        ImportError: If Pillow is not installed.
        FileNotFoundError: If there is no such folder.
        ValueError: If an argument is out of range, there are no two classes or a class without
            training images, or a file is no image that can be read; the error names it.

    Warns:
        UserWarning: If images of other formats are left out.

    Example:

    ```python
    data = kdzoo.data.from_directory("flowers", image_size=96)
    ```
    """
    path = check_path("directory", directory)
    size = _check_size(image_size)
    crop = check_flag("crop_to_aspect_ratio", crop_to_aspect_ratio)
    check_choice("color_mode", color_mode, image_files.MODES)
    name = name_of_folder(path) if name is None else check_text("name", name)
    for field, fraction in (("validation", validation), ("test", test)):
        if fraction is not None:
            check_fraction(field, fraction)
    classes, files = list_images(path)
    for part, fraction in (("validation", validation), ("test", test)):
        if part in files and fraction is not None:
            raise ValueError(
                f"Expected {part}=None for a folder with {part} images of its own, as {path}. "
                f"Received: {part}={fraction}"
            )
    splits: dict[str, Any] = {}
    for part, found in files.items():
        images = image_files.read_images([path / file for file, _ in found], size, color_mode, crop)
        labels = np.array([label for _, label in found], "int32")
        splits[part] = Split(images, labels, 255, None, name, paths=[file for file, _ in found])
    version = _version(splits)
    if "test" not in splits:
        fraction = TEST_FRACTION if test is None else test
        splits["train"], splits["test"] = hold_out(splits["train"], fraction, _TEST_SEED)
    if "validation" not in splits:
        splits["train"], splits["validation"] = hold_out(splits["train"], validation)
    _check_every_class(path, classes, splits["train"])
    return Dataset(name, classes, **splits, version=version)


def name_of_folder(path: pathlib.Path) -> str:
    """Returns what the data set of a folder is called: another name than a known data set's."""
    name = path.resolve().name or "images"
    return f"./{name}" if name in DATASETS else name


def list_images(
    directory: pathlib.Path,
) -> tuple[tuple[str, ...], dict[str, list[tuple[str, int]]]]:
    """Returns the classes of a folder, and the files and labels of each split that it has.

    Args:
        directory: The folder.

    Returns:
        Names of the classes, and a dictionary: `"train"` and, if there are such folders,
        `"validation"` and `"test"` -> (path relative to the folder, class) of each image.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If it is not laid out so.
    """
    if not directory.is_dir():
        what = "a file" if directory.exists() else "none there"
        raise FileNotFoundError(f"Expected a folder of images. Received: {directory}, {what}")
    parts = _parts(directory)
    classes = _class_folders(directory / parts["train"])
    files: dict[str, list[tuple[str, int]]] = {}
    for part, folder in parts.items():
        found = classes if part == "train" else _class_folders(directory / folder)
        unknown = sorted({*found} - {*classes})
        if unknown:
            raise ValueError(
                f"Expected the classes of {directory / parts['train']}. Received: "
                f"{directory / folder / unknown[0]}, of another class"
            )
        files[part] = [
            (pathlib.PurePath(folder, image).as_posix(), label)
            for label, name in enumerate(classes)
            if name in found
            for image in found[name]
        ]
    return tuple(map(_readable, classes)), files


def _parts(directory: pathlib.Path) -> dict[str, str]:
    """Split -> its folder, relative to the directory; for a folder of classes `"train"` alone."""
    folders = _folders(directory)
    if "train" not in folders or not _folders(directory / "train"):
        return {"train": ""}
    parts: dict[str, str] = {}
    for folder in folders:
        part = _SPLITS.get(folder)
        if part is None or part in parts:
            raise ValueError(
                "Expected folders of classes, or train, validation and test with folders of "
                f"classes in each. Received: {directory}, with {folder!r} beside "
                f"{parts.get(part or '', 'train')!r}"
            )
        parts[part] = folder
    return {part: parts[part] for part in ("train", "validation", "test") if part in parts}


def _class_folders(directory: pathlib.Path) -> dict[str, list[str]]:
    """Name of a class -> its images, relative to the directory; two classes, none of them empty."""
    folders = _folders(directory)
    if len(folders) < 2:
        loose = sum(name.lower().endswith(image_files.SUFFIXES) for name in os.listdir(directory))
        beside = f", and {loose} images beside them" if loose else ""
        raise ValueError(
            "Expected a folder for each class, at least two, with its images in it. Received: "
            f"{directory}, with {len(folders)} folders{beside}"
        )
    found: dict[str, list[str]] = {}
    others: list[pathlib.Path] = []
    for folder in folders:
        _check_no_loop(directory, folder)
        images = []
        for file in _files(directory / folder):
            kind = mimetypes.guess_type(file.name)[0] or ""
            if file.name.lower().endswith(image_files.SUFFIXES):
                images.append(file.relative_to(directory).as_posix())
            elif kind.startswith("image/"):
                others.append(file)
        if not images:
            formats = ", ".join(image_files.FORMATS)
            other = f"; {others[-1]} is in another format" if others else ""
            raise ValueError(
                f"Expected images in every class folder, as {formats}. Received: "
                f"{directory / folder}, without any{other}"
            )
        found[folder] = images
    if others:
        warnings.warn(
            f"Left out {len(others)} images that are neither of {', '.join(image_files.FORMATS)}, "
            f"such as {others[0]}.",
            stacklevel=4,
        )
    return found


def _folders(directory: pathlib.Path) -> list[str]:
    """The names of the folders in a directory, hidden ones left out, in order."""
    names = sorted(os.listdir(directory))
    return [name for name in names if not _is_hidden(name) and os.path.isdir(directory / name)]


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == _UNPACKED


def _files(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields the files in a folder and below in order; links to folders are not followed."""

    def complain(error: OSError) -> None:
        raise error

    found = []
    for root, folders, names in os.walk(folder, onerror=complain):
        folders[:] = [name for name in folders if not _is_hidden(name)]
        found.append((root, [name for name in names if not _is_hidden(name)]))
    for root, names in sorted(found):
        for name in sorted(names):
            yield pathlib.Path(root, name)


def _check_no_loop(directory: pathlib.Path, folder: str) -> None:
    """Raises `ValueError` if a class folder is a link to a folder that the directory lies in."""
    real, target = os.path.realpath(directory), os.path.realpath(directory / folder)
    if os.path.commonpath([real, target]) == target:
        raise ValueError(
            f"Expected a folder of images of one class. Received: {directory / folder}, a link to "
            f"{target}, which has {directory} in it"
        )


def _readable(name: str) -> str:
    """A name as text that can be printed, whatever bytes the file system has in it."""
    return os.fsencode(name).decode("utf-8", "replace")


def _check_size(given: object) -> tuple[int, int]:
    """Returns height and width, or raises."""
    sides = given if isinstance(given, tuple | list) else (given, given)
    if len(sides) != 2 or not all(is_integer(side, 1, _LARGEST_SIDE) for side in sides):
        raise ValueError(
            f"Expected image_size to be a side or (height, width), from 1 to {_LARGEST_SIDE} "
            f"pixels. Received: image_size={shown(given)}"
        )
    height, width = map(int, sides)
    return height, width


def _check_every_class(path: pathlib.Path, classes: tuple[str, ...], train: Split) -> None:
    """Raises `ValueError` if a class has lost all its images to what is held out."""
    labels = train.labels if train.indices is None else train.labels[train.indices]
    counts = np.bincount(labels, minlength=len(classes))
    if not counts.all():
        raise ValueError(
            "Expected enough images of every class to train on and to hold out, about ten. "
            f"Received: {path}, where none is left to train on of {classes[counts.argmin()]!r}"
        )


def _version(splits: dict[str, Split]) -> str:
    """What the data set is known by: the beginning of a hash of its files' names and pixels."""
    found = hashlib.sha256()
    for part, split in splits.items():
        names = "\n".join((part, *(split.paths or ()), ""))
        found.update(names.encode("utf-8", "surrogateescape"))
        found.update(repr(split.images.shape).encode())
        found.update(split.images.data)
    return found.hexdigest()[:16]
