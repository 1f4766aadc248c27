"""Random changes to training images that leave the class as it is."""

import dataclasses

import numpy as np
from numpy.typing import ArrayLike

from kdzoo.data import randomness
from kdzoo.utils import check_flag, check_integer, check_numeric_array

_MOST_PIXELS = 1 << 16

_DOWN, _RIGHT, _MIRROR, _HOLE_ROW, _HOLE_COLUMN = range(1, 6)


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """Shifts, mirrors and cuts holes into images.

    What happens to an image follows from (seed, epoch, sample index) alone: not from the batch it
    lies in, the order of reading, the backend or the process. Pixels are moved and never mixed, so
    images keep their type. It is computed in NumPy for a whole batch at once: 4 to 6 microseconds
    for an image of 28x28x1 and about 12 for 32x32x3, shifted and mirrored, of one core (measured by
    `python benchmarks/augmentation_cost.py`).

    Args:
        shift: Images move by up to this many pixels in each direction, independently, from 0 to
            65,536; what comes in is zero. 4 on 32x32 images is the usual "pad and crop".
        flip: Whether one image in two is mirrored, left to right.
        cutout: Side in pixels of a square that is set to zero. Its centre is uniform over the
            image, so that a part of it may lie outside, as in the paper; the paper fills with the
            mean instead.

    Raises:
        ValueError: If a size is negative or no integer.

    Example:

    >>> augmentation = Augmentation(shift=1)
    >>> augmentation(np.full((1, 2, 2, 1), 9, "uint8"), indices=[0], seed=27)[0, ..., 0]
    array([[9, 0],
           [9, 0]], dtype=uint8)

    Reference:
        DeVries and Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout",
        2017, arXiv:1708.04552.
    """

    shift: int = 0
    flip: bool = False
    cutout: int = 0

    def __post_init__(self) -> None:
        for field in ("shift", "cutout"):
            pixels = check_integer(field, getattr(self, field), 0, _MOST_PIXELS)
            object.__setattr__(self, field, pixels)  # NumPy's integers are not for JSON.
        object.__setattr__(self, "flip", check_flag("flip", self.flip))

    def __call__(
        self, images: ArrayLike, indices: ArrayLike, seed: int = 0, epoch: int = 0
    ) -> np.ndarray:
        """Returns the augmented images.

        Args:
            images: Array (n, height, width, channels) of any type; it is not changed.
            indices: Index of every image in its data set, integers (n,).
            seed: Integer; another seed gives other changes.
            epoch: Integer; another epoch gives other changes.

        Returns:
            Array of the shape and type of `images`.

        Raises:
            ValueError: If the images are no such array, or there is not an index for each.
        """
        seed, epoch = check_integer("seed", seed), check_integer("epoch", epoch)
        given, indices = self._check(images, indices)
        images = (
            self._shifted(given, indices, seed, epoch) if self.shift else np.array(given, order="C")
        )
        if self.flip:
            mirrored = randomness.integers(indices, 2, seed, epoch, _MIRROR) == 1
            # Whole pixels are moved, instead of channel after channel.
            pixel = np.dtype((np.void, images.dtype.itemsize * images.shape[-1]))
            pixels = images.view(pixel)
            pixels[mirrored] = pixels[mirrored, :, ::-1]
        if self.cutout:
            self._cut_holes(images, indices, seed, epoch)
        return images

    def _check(self, images, indices):
        """Returns images and indices as arrays, or raises unless they fit each other."""
        images = check_numeric_array("images", images)
        indices = check_numeric_array("indices", indices)
        if images.ndim != 4 or indices.dtype.kind not in "iu" or indices.shape != images.shape[:1]:
            raise ValueError(
                "Expected images (n, height, width, channels) and as many integers as indices. "
                f"Received: images of shape {images.shape}, indices of type {indices.dtype} and "
                f"shape {indices.shape}"
            )
        return images, indices

    def _shifted(self, images, indices, seed, epoch):
        count, height, width, channels = images.shape
        border, places = self.shift, 2 * self.shift + 1
        padded = np.zeros((count, height + 2 * border, width + 2 * border, channels), images.dtype)
        padded[:, border : border + height, border : border + width] = images
        image, row, column, channel = padded.strides
        windows = np.lib.stride_tricks.as_strided(
            padded,
            shape=(count, places, places, height, width, channels),
            strides=(image, row, column, row, column, channel),
            writeable=False,
        )
        down = randomness.integers(indices, places, seed, epoch, _DOWN)
        right = randomness.integers(indices, places, seed, epoch, _RIGHT)
        return np.ascontiguousarray(windows[np.arange(count), down, right])

    def _cut_holes(self, images, indices, seed, epoch):
        """Sets a square to zero in every image, in place."""
        _, height, width, _ = images.shape
        before, after = self.cutout // 2, self.cutout - self.cutout // 2
        rows = randomness.integers(indices, height, seed, epoch, _HOLE_ROW).tolist()
        columns = randomness.integers(indices, width, seed, epoch, _HOLE_COLUMN).tolist()
        # A hole is a small part of its image: a loop over slices is faster than a mask over pixels.
        for image, row, column in zip(images, rows, columns, strict=True):
            image[max(row - before, 0) : row + after, max(column - before, 0) : column + after] = 0
