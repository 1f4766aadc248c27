"""A folder of images by class, as `keras.utils.image_dataset_from_directory` lays it out.

All images are held in memory, as bytes of one size. Batches take some samples of a `Split` at a
time, by `Split.examples(indices)`, and nothing else of kdzoo's that trains takes more: a split that
decodes the files of those samples when they are taken (`image_files.read_images` of some paths)
would serve folders that are larger than memory. What takes all images at once, by
`Split.arrays()`, are measures and the calibration of an export.
"""

import hashlib
import os
import pathlib
from typing import Any

import numpy as np

from kdzoo.data import image_files
from kdzoo.data.catalog import DATASETS
from kdzoo.data.dataset import Dataset
from kdzoo.data.folder_layout import list_images
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
    name = os.path.basename(os.path.abspath(path)) or "images"
    return f"./{name}" if name in DATASETS else name


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
