"""What images and labels must be before anything is trained on them."""

import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from kdzoo.utils import check_integer, check_positive_integer, shown


def check_images(images: ArrayLike, name: str = "images") -> np.ndarray:
    """Returns images as kdzoo keeps them, or says what is wrong with them.

    Args:
        images: Array (n, height, width, channels), or (n, height, width) for grey images. Either
            uint8 in [0, 255] or floating point, for kdzoo's models in [0, 1].
        name: What the caller calls the array; it appears in the error.

    Returns:
        Array (n, height, width, channels), uint8 or float32.

    Raises:
        ValueError: If there are no images, their rank or type is another, or one holds NaN or an
            infinite value.

    Warns:
        UserWarning: If floating-point images are not in [0, 1].

    Example:

    >>> check_images(np.zeros((2, 8, 8), "uint8")).shape
    (2, 8, 8, 1)
    """
    images = as_images(images, name)
    if images.dtype == np.uint8:
        return images
    low, high = float(images.min()), float(images.max())
    if low < 0 or high > 1:
        warnings.warn(
            f"Images are in [{low:g}, {high:g}] in {name}, where kdzoo's models take [0, 1]. "
            "Divide pixels in [0, 255] by 255 or pass them as uint8. If they are right as they "
            "are, silence this: `warnings.filterwarnings('ignore', 'Images are in')`.",
            stacklevel=3,
        )
    return images


def as_images(images: ArrayLike, name: str) -> np.ndarray:
    """Returns images as kdzoo keeps them, whatever their range is.

    Args:
        images: What `check_images` takes.
        name: What the caller calls the array.

    Raises:
        ValueError: If there are no images, their rank or type is another, or one is not finite.
    """
    images = _as_array(images, name)
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4:
        raise ValueError(
            f"Expected images of shape (n, height, width, channels). Received: {name} of shape "
            f"{images.shape}."
        )
    if images.size == 0:
        raise ValueError(
            f"Expected at least one image; check how the data were selected. Received: {name} of "
            f"shape {images.shape}."
        )
    if images.dtype == np.uint8:
        return images
    if not np.issubdtype(images.dtype, np.floating):
        raise ValueError(
            "Expected images of type uint8 or float32; convert them with "
            f"`images.astype('uint8')`. Received: {name} of type {images.dtype}."
        )
    with np.errstate(over="ignore"):  # What float32 cannot hold becomes infinite.
        images = images.astype(np.float32, copy=False)
    if not (np.isfinite(images.min()) and np.isfinite(images.max())):
        count = int((~np.isfinite(images)).any(axis=(1, 2, 3)).sum())
        raise ValueError(
            "Expected images of finite numbers; remove or repair those that hold NaN or infinite "
            f"values. Received: {name} with such values in {count} of {len(images)} images."
        )
    return images


def check_labels(
    labels: ArrayLike, classes: int | None = None, count: int | None = None, name: str = "labels"
) -> np.ndarray:
    """Returns labels as kdzoo keeps them, or says what is wrong with them.

    Args:
        labels: Integer classes, shape (n,) or (n, 1).
        classes: Number of classes; every label must be below it. None: not checked.
        count: Number of images that they belong to. None: not checked.
        name: What the caller calls the array; it appears in the error.

    Returns:
        int32 array (n,).

    Raises:
        ValueError: If the labels are not integers, not one for each image, or out of range.

    Example:

    >>> check_labels([[3], [1]], classes=10)
    array([3, 1], dtype=int32)
    """
    classes = None if classes is None else check_positive_integer("classes", classes)
    count = None if count is None else check_integer("count", count, least=0)
    labels = _as_array(labels, name)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            "Expected labels as integers of shape (n,); turn one-hot rows into integers with "
            f"`labels.argmax(-1)`. Received: {name} of type {labels.dtype} and shape "
            f"{labels.shape}."
        )
    if count is not None and len(labels) != count:
        raise ValueError(
            f"Expected one label for each of {count} images; check that both arrays were cut "
            f"alike. Received: {name} of shape {labels.shape}."
        )
    if labels.size:
        high = np.iinfo(np.int32).max if classes is None else classes - 1
        if labels.min() < 0 or labels.max() > high:
            raise ValueError(
                f"Expected labels in [0, {high}]; number the classes from 0 or set `classes`. "
                f"Received: {name} in [{labels.min()}, {labels.max()}]."
            )
    return labels.astype(np.int32)


def check_positions(positions: ArrayLike | slice, count: int, name: str = "indices") -> np.ndarray:
    """Returns positions in a split as integers, or says what is wrong with them.

    Args:
        positions: Integers (k,), below 0 counted from the end; or a slice, or a boolean for
            each sample, whether it is meant.
        count: Number of samples.
        name: What the caller calls them.

    Returns:
        int64 array (k,).

    Raises:
        ValueError: If they are something else, or lie outside.
    """
    if isinstance(positions, slice):
        return np.arange(count)[positions]
    positions = _as_array(positions, name)
    is_mask = positions.dtype == bool and positions.shape == (count,)
    is_right = is_mask or positions.dtype.kind in "iu" or not positions.size
    if positions.ndim != 1 or not is_right:
        raise ValueError(
            f"Expected {name} to be positions of samples, integers of shape (k,). Received: "
            f"{name} of type {positions.dtype} and shape {positions.shape}"
        )
    if is_mask:
        return np.flatnonzero(positions)
    if positions.size and not -count <= positions.min() <= positions.max() < count:
        raise ValueError(
            f"Expected {name} below {count}, the number of samples. Received: {name} from "
            f"{positions.min()} to {positions.max()}"
        )
    return positions.astype("int64")


def _as_array(values: Any, name: str) -> np.ndarray:
    """What was given as an array, of any type; lists of several lengths make none."""
    try:
        return np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"Expected {name} to be an array. Received: {name}={shown(values)}"
        ) from error
