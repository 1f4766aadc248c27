"""Which files of a folder are images of which class and split."""

import mimetypes
import os
import pathlib
import warnings
from collections.abc import Iterator

from kdzoo.data import image_files

_SPLITS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "val": "validation",
    "valid": "validation",
    "test": "test",
    "testing": "test",
}
"""Name of a folder in lower case -> the split that is in it."""
_UNPACKED = "__MACOSX"  # What macOS adds to archives: no images, by names as images have.


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
        found = classes if part == "train" else _class_folders(directory / folder, least=1)
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
    trained = [name for name in folders if _SPLITS.get(name.lower()) == "train"]
    if not any(_folders(directory / name) for name in trained):
        return {"train": ""}
    parts: dict[str, str] = {}
    for folder in folders:
        part = _SPLITS.get(folder.lower())
        if part is None or part in parts:
            raise ValueError(
                "Expected folders of classes, or train, validation and test with folders of "
                f"classes in each. Received: {directory}, with {folder!r} beside "
                f"{parts.get(part or '', trained[0])!r}"
            )
        parts[part] = folder
    return {part: parts[part] for part in ("train", "validation", "test") if part in parts}


def _class_folders(directory: pathlib.Path, least: int = 2) -> dict[str, list[str]]:
    """Name of a class -> its images, relative to the directory; so many classes, none empty."""
    folders = _folders(directory)
    if len(folders) < least:
        loose = sum(name.lower().endswith(image_files.SUFFIXES) for name in os.listdir(directory))
        beside = f", and {loose} images beside them" if loose else ""
        raise ValueError(
            f"Expected a folder for each class, at least {least}, with its images in it. Received: "
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
    real, target = directory.resolve(), (directory / folder).resolve()
    if target in (real, *real.parents):
        raise ValueError(
            f"Expected a folder of images of one class. Received: {directory / folder}, a link to "
            f"{target}, which has {directory} in it"
        )


def _readable(name: str) -> str:
    """A name as text that can be printed, whatever bytes the file system has in it."""
    return os.fsencode(name).decode("utf-8", "replace")
