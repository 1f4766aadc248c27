"""Augmented images equal what a plain loop over pixels makes of the same random numbers."""

import numpy as np
import pytest

from kdzoo.data import Augmentation, randomness


def by_loops(images, indices, augmentation, seed, epoch):
    """Shift, mirror and cut one pixel after the other."""
    count, height, width, _ = images.shape
    result = np.zeros_like(images)
    for n in range(count):

        def draw(high, purpose, index=indices[n]):
            return int(randomness.integers([index], high, seed, epoch, purpose)[0])

        down = draw(2 * augmentation.shift + 1, 1) - augmentation.shift
        right = draw(2 * augmentation.shift + 1, 2) - augmentation.shift
        mirrored = augmentation.flip and draw(2, 3) == 1
        top = draw(height, 4) - augmentation.cutout // 2
        left = draw(width, 5) - augmentation.cutout // 2
        for row in range(height):
            for column in range(width):
                source = row + down, (width - 1 - column if mirrored else column) + right
                cut = 0 <= row - top < augmentation.cutout
                cut = cut and 0 <= column - left < augmentation.cutout
                if 0 <= source[0] < height and 0 <= source[1] < width and not cut:
                    result[n, row, column] = images[n, source[0], source[1]]
    return result


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize(
    "augmentation",
    [
        Augmentation(),
        Augmentation(shift=2),
        Augmentation(flip=True),
        Augmentation(cutout=3),
        Augmentation(shift=9, flip=True, cutout=4),
    ],
    ids=str,
)
def test_equals_loops(augmentation, dtype):
    images = np.random.default_rng(0).integers(1, 256, (32, 7, 6, 3)).astype(dtype)
    before = images.copy()
    indices = np.arange(100, 132)
    result = augmentation(images, indices, seed=5, epoch=2)
    assert result.dtype == images.dtype
    np.testing.assert_array_equal(result, by_loops(images, indices, augmentation, 5, 2))
    np.testing.assert_array_equal(images, before)


def test_every_shift_and_both_sides_occur():
    image = np.zeros((1, 5, 5, 1), "uint8")
    image[0, 2, 1] = 1
    images = Augmentation(shift=1, flip=True)(np.repeat(image, 500, 0), np.arange(500))
    places = {tuple(place) for place in np.argwhere(images[..., 0])[:, 1:]}
    assert places == {(row, column) for row in (1, 2, 3) for column in range(5)}


@pytest.mark.parametrize("change", [{"seed": 1}, {"epoch": 1}, {"indices": np.arange(1, 65)}])
def test_depends_on_seed_epoch_and_index(change):
    images = np.random.default_rng(0).integers(0, 256, (64, 8, 8, 1)).astype("uint8")
    arguments = {"indices": np.arange(64), "seed": 0, "epoch": 0}
    augmentation = Augmentation(shift=2, flip=True, cutout=3)
    first = augmentation(images, **arguments)
    assert (first != augmentation(images, **(arguments | change))).any(axis=(1, 2, 3)).mean() > 0.8


def test_does_not_depend_on_the_batch():
    images = np.random.default_rng(0).integers(0, 256, (64, 8, 8, 1)).astype("uint8")
    augmentation = Augmentation(shift=2, flip=True, cutout=3)
    whole = augmentation(images, np.arange(64), 3, 4)
    part = augmentation(images[[40, 7]], np.array([40, 7]), 3, 4)
    np.testing.assert_array_equal(part, whole[[40, 7]])


@pytest.mark.parametrize("arguments", [{"shift": -1}, {"cutout": 1.5}, {"shift": True}])
def test_wrong_sizes_are_refused(arguments):
    with pytest.raises(ValueError, match=r"Expected (shift|cutout) to be an integer from 0"):
        Augmentation(**arguments)
