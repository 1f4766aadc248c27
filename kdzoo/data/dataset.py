"""Labelled images in memory, split into what is trained on, chosen by and tested on."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from kdzoo.data import image_checks
from kdzoo.data.hold_out import hold_out, stratified_choice
from kdzoo.data.split import UNNAMED, Split
from kdzoo.utils import (
    check_integer,
    check_positive_integer,
    check_text,
    is_number,
    shown,
)

_MOST_CLASSES = 1 << 24
_LARGEST_FACTOR = 64
_LARGEST_SCALE = 1 << 16


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Labelled images in splits.

    Attributes:
        name: Name of the data set.
        class_names: What each class is called, tuple of `classes` strings.
        train: The `Split` to train on.
        validation: The `Split` to choose hyperparameters and epochs by, or None.
        test: The `Split` to report on, or None.
        version: Version of the data set, as its source numbers them, or None.
    """

    name: str
    class_names: tuple[str, ...]
    train: Split
    # `Any` for None: users know whether a split is there, and need not tell a type checker.
    validation: Split | Any
    test: Split | Any
    version: str | None = None

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Shape (height, width, channels) of one image."""
        return self.train.input_shape

    def enlarged(self, factor: int) -> "Dataset":
        """Returns the data set with every pixel as a square of pixels.

        Args:
            factor: Side of the square, from 1 to 64.

        Raises:
            ValueError: If it is another number.

        Example:

        >>> data = from_arrays(np.zeros((20, 8, 8, 1), "uint8"), np.arange(20) % 2)
        >>> data.enlarged(2).input_shape
        (16, 16, 1)
        """
        factor, splits = check_positive_integer("factor", factor, _LARGEST_FACTOR), {}
        for part in ("train", "validation", "test"):
            split = getattr(self, part)
            if split is not None:
                images, labels = split.examples(np.arange(len(split)))
                images = images.repeat(factor, axis=1).repeat(factor, axis=2)
                split = Split(images, labels, split.scale, None, split.name, paths=split.paths)
            splits[part] = split
        return Dataset(self.name, self.class_names, **splits, version=self.version)

    def resplit(self, seed: int) -> "Dataset":
        """Returns the same samples, drawn anew into splits of the same sizes.

        What is measured on one split of a small data set depends on the luck of its draw: the mean
        over several of them does so less. A model that was trained on one split has seen test
        images of the others.

        Args:
            seed: Integer of at least 0 that decides the draw, which has every class in proportion.

        Raises:
            ValueError: If the seed is no such integer.

        Example:

        >>> data = from_arrays(np.zeros((20, 8, 8, 1), "uint8"), np.arange(20) % 2).resplit(seed=1)
        >>> len(data.train), len(data.validation)
        (18, 2)
        """
        seed, parts = check_integer("seed", seed, 0), ("test", "validation", "train")
        old = {part: getattr(self, part) for part in parts if getattr(self, part) is not None}
        is_alike = len({(split.images.dtype, split.scale) for split in old.values()}) == 1
        stored = [
            split.examples(np.arange(len(split))) if is_alike else split.arrays()
            for split in old.values()
        ]
        images, labels = (np.concatenate(arrays) for arrays in zip(*stored, strict=True))
        known = [split.paths for split in old.values()]
        paths = None if None in known else [path for part in known for path in part or ()]
        left = np.arange(len(labels))
        new: dict[str, Any] = {}
        for number, (part, split) in enumerate(old.items()):
            chosen = left[stratified_choice(labels[left], len(split), seed, number)]
            scale = split.scale if is_alike else 1
            new[part] = Split(images, labels, scale, chosen, split.name, paths=paths)
            left = np.setdiff1d(left, chosen)
        return dataclasses.replace(self, **new)


def from_arrays(
    x: ArrayLike,
    y: ArrayLike,
    classes: int | None = None,
    validation: float | tuple[ArrayLike, ArrayLike] | None = None,
    test: tuple[ArrayLike, ArrayLike] | None = None,
    class_names: Sequence[str] | None = None,
    name: str = UNNAMED,
    scale: float = 255,
) -> Dataset:
    """Makes a data set of arrays that are already in memory.

    Args:
        x: Images to train on, (n, height, width, channels) or (n, height, width), uint8 or floating
            point; kdzoo's models take [0, 1], and other numbers are warned of.
        y: Their classes, integers (n,).
        classes: Number of classes. None: as many as there are `class_names`, or else the largest
            label plus one.
        validation: What to choose by: (images, labels), or the fraction of `x` to hold out, from 0
            to below 1, each class in proportion; None is a tenth, 0 holds nothing out. The choice
            depends only on the labels and is the same at every call.
        test: What to test on, (images, labels), or None.
        class_names: What each class is called. None: "0", "1", ….
        name: Name of the data set.
        scale: Value that stands for white in uint8 images, above 0 and at most 65,536.

    Returns:
        A `Dataset`.

    Raises:
        ValueError: If images or labels are not as described; the error says which, and the remedy.

    Example:

    >>> images = np.zeros((20, 8, 8, 1), "uint8")
    >>> data = from_arrays(images, np.arange(20) % 2)
    >>> data.classes, len(data.train), len(data.validation)
    (2, 18, 2)
    """
    name, scale = check_text("name", name), _check_scale(scale)
    images = image_checks.as_images(x, "x")
    labels = image_checks.check_labels(y, count=len(images), name="y")
    if classes is not None:
        classes = check_positive_integer("classes", classes, _MOST_CLASSES)
    if class_names is None:
        classes = labels.max() + 1 if classes is None else classes
        class_names = tuple(str(label) for label in range(classes))
    if classes not in (None, len(class_names) if hasattr(class_names, "__len__") else None):
        raise ValueError(
            f"Expected one name for each of {classes} classes. Received: "
            f"class_names={shown(class_names)}"
        )
    _check_names(class_names)
    names = tuple(class_names)
    train = _split(images, labels, "x", "y", len(names), None, scale, name)
    tested = None if test is None else _pair("test", test, len(names), train, scale, name)
    if isinstance(validation, tuple | list):
        held_out = _pair("validation", validation, len(names), train, scale, name)
    else:
        train, held_out = hold_out(train, validation)
    return Dataset(name, names, train, held_out, tested)


def _check_names(names: Any) -> None:
    """Raises unless there are names of classes, strings."""
    if not isinstance(names, list | tuple | np.ndarray) or not all(
        isinstance(name, str) for name in names
    ):
        raise ValueError(
            f"Expected class_names to be a list of strings. Received: class_names={shown(names)}"
        )


def _check_scale(scale: Any) -> float:
    """Returns the value that stands for white, or raises unless pixels can be divided by it."""
    if not is_number(scale) or not 0 < scale <= _LARGEST_SCALE:
        raise ValueError(
            f"Expected scale to be the value of white, above 0 and at most {_LARGEST_SCALE}. "
            f"Received: scale={shown(scale)}"
        )
    return scale


def _pair(part, given, classes, train, scale, name):
    """Returns the `Split` of images and labels that were given as a pair."""
    if not isinstance(given, tuple | list) or len(given) != 2:
        raise ValueError(
            f"Expected {part} to be a pair (images, labels). Received: {part} of type "
            f"{type(given).__name__}"
        )
    return _split(*given, f"{part}[0]", f"{part}[1]", classes, train, scale, name)


def _split(images, labels, images_name, labels_name, classes, like, scale, name):
    """Checks arrays and makes a `Split` of them, whose images are shaped like those of `like`."""
    images = image_checks.check_images(images, images_name)
    labels = image_checks.check_labels(labels, classes, len(images), labels_name)
    if like is not None and images.shape[1:] != like.input_shape:
        raise ValueError(
            f"Expected images of one shape, {like.input_shape}, in every split. Received: "
            f"{images_name} of shape {images.shape}."
        )
    if images.dtype == np.uint8 and images.max() > scale:
        raise ValueError(
            f"Expected images in [0, {scale}], the scale of this data set. Received: {images_name} "
            f"with a pixel of {images.max()}."
        )
    return Split(images, labels, 1 if images.dtype == np.float32 else scale, None, name)
