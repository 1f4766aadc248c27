"""Splits, data sets of one's own, and what is wrong with bad ones."""

import numpy as np
import pytest

import kdzoo.data


def images_of(count, size=4):
    """Grey images that can be told apart: every pixel is the number of the image."""
    return np.repeat(np.arange(count), size * size).reshape(count, size, size, 1).astype("uint8")


def test_digits():
    from sklearn import datasets

    data = kdzoo.data.load("digits")
    assert (data.name, data.classes, data.input_shape) == ("digits", 10, (8, 8, 1))
    assert data.class_names == tuple("0123456789")
    assert [len(split) for split in (data.train, data.validation, data.test)] == [900, 100, 797]
    parts = [split.arrays() for split in (data.train, data.validation, data.test)]
    images = np.concatenate([images for images, _ in parts])
    labels = np.concatenate([labels for _, labels in parts])
    assert (images.dtype, labels.dtype) == (np.float32, np.int32)
    pixels, classes = datasets.load_digits(return_X_y=True)
    ours = np.column_stack([images.reshape(1797, 64) * 16, labels])
    theirs = np.column_stack([pixels, classes])
    np.testing.assert_array_equal(ours[np.lexsort(ours.T)], theirs[np.lexsort(theirs.T)])


def test_digits_split_is_balanced_and_fixed():
    first, second = kdzoo.data.load("digits"), kdzoo.data.load("digits")
    np.testing.assert_array_equal(first.test.arrays()[0], second.test.arrays()[0])
    counts = np.bincount(first.test.labels)
    assert counts.min() >= 77
    assert counts.max() <= 81
    other = kdzoo.data.load("digits", validation=0.3)
    assert (len(other.train), len(other.validation)) == (700, 300)
    np.testing.assert_array_equal(first.test.arrays()[0], other.test.arrays()[0])


def test_no_validation():
    data = kdzoo.data.load("digits", validation=0)
    assert data.validation is None
    assert len(data.train) == 1000


def test_validation_is_stratified_and_apart():
    labels = np.repeat([0, 1], [150, 50])
    data = kdzoo.data.from_arrays(images_of(200), labels)
    x, y = data.validation.arrays()
    assert (len(data.train), len(y), int(y.sum())) == (180, 20, 5)
    held_out = set(np.round(x[:, 0, 0, 0] * 255).astype(int))
    kept = set(np.round(data.train.arrays()[0][:, 0, 0, 0] * 255).astype(int))
    assert held_out | kept == set(range(200))
    assert not held_out & kept


def test_pixels_become_exact_floats():
    data = kdzoo.data.from_arrays(images_of(256), np.arange(256) % 2, validation=0)
    images, _ = data.train.arrays()
    np.testing.assert_array_equal(images[:, 0, 0, 0], np.arange(256).astype("float32") / 255)
    assert images.max() == 1


def test_arrays_of_ones_own():
    x = np.random.default_rng(0).random((30, 4, 4, 3))
    y = np.arange(30)[:, None] % 3
    data = kdzoo.data.from_arrays(
        x, y, validation=(x[:5], y[:5]), test=(x[:7], y[:7]), class_names=["a", "b", "c"]
    )
    assert data.class_names == ("a", "b", "c")
    assert [len(split) for split in (data.train, data.validation, data.test)] == [30, 5, 7]
    np.testing.assert_array_equal(data.train.arrays()[0], x.astype("float32"))
    assert kdzoo.data.from_arrays(x, y, classes=12).classes == 12
    assert kdzoo.data.from_arrays(x[..., 0], y).input_shape == (4, 4, 1)


def test_subset():
    data = kdzoo.data.from_arrays(images_of(20), np.arange(20) % 2, validation=0)
    part = data.train.subset(slice(10, 20)).subset([3, 1])
    np.testing.assert_array_equal(part.arrays()[0][:, 0, 0, 0] * 255, [13, 11])
    np.testing.assert_array_equal(part.arrays()[1], [1, 1])
    with pytest.raises(ValueError, match="at least one sample"):
        data.train.subset([])


GOOD = np.zeros((4, 3, 3, 1), "float32")
NAN = np.where(np.arange(4).reshape(4, 1, 1, 1) == 2, np.nan, GOOD)


@pytest.mark.parametrize(
    ("images", "labels", "options", "message"),
    [
        (GOOD + np.inf, [0, 1, 0, 1], {}, "or infinite values.*in 4 of 4 images"),
        (NAN, [0, 1, 0, 1], {}, "remove or repair those that hold NaN.*in 1 of 4 images"),
        (GOOD[:0], [], {}, r"at least one image.*x of shape \(0, 3, 3, 1\)"),
        (GOOD.astype("int64"), [0, 1, 0, 1], {}, r"astype\('uint8'\).*x of type int64"),
        (GOOD[0, 0], [0, 1, 0, 1], {}, r"\(n, height, width, channels\).*shape \(3, 1\)"),
        (GOOD, [0, 1, 0, 2], {"classes": 2}, r"labels in \[0, 1\].*y in \[0, 2\]"),
        (GOOD, [0, 1, 0, -1], {}, r"number the classes from 0.*y in \[-1, 1\]"),
        (GOOD, np.eye(4), {}, r"labels.argmax\(-1\).*y of type float64 and shape \(4, 4\)"),
        (GOOD, [0, 1], {}, r"one label for each of 4 images.*y of shape \(2,\)"),
        (
            GOOD,
            [0, 1, 0, 1],
            {"validation": 1.0},
            "validation to lie in .*: validation=1.0",
        ),
        (GOOD, [0, 1, 0, 1], {"validation": "some"}, "Received: validation='some'"),
        (GOOD, [0, 1, 0, 1], {"test": (GOOD, [0, 1, 2, 3])}, r"test\[1\] in \[0, 3\]"),
        (GOOD, [0, 1, 0, 1], {"test": (GOOD[:, 1:], [0] * 4)}, "of one shape"),
        (GOOD, [0, 1, 0, 1], {"test": GOOD}, r"test to be a pair \(images, labels\).*ndarray"),
        (GOOD, [0, 1, 0, 1], {"validation": (GOOD,)}, "validation to be a pair"),
        (GOOD, [0, 1, 0, 1], {"classes": GOOD}, "Expected classes to be a positive integer"),
        (GOOD, [0, 1, 0, 1], {"classes": 2.5}, "Received: classes=2.5"),
        (GOOD, [0, 1, 0, 1], {"classes": 3, "class_names": "ab"}, "each of 3 classes"),
        (images_of(4) + 20, [0, 1, 0, 1], {"scale": 16}, r"in \[0, 16\].*a pixel of 23"),
    ],
)
def test_bad_input_is_refused(images, labels, options, message):
    with pytest.raises(ValueError, match=message):
        kdzoo.data.from_arrays(images, labels, **options)


@pytest.mark.parametrize(
    "arguments",
    [
        {"batch_size": 0},
        {"batch_size": True},
        {"batch_size": 2.0},
        {"initial_epoch": -1},
        {"initial_epoch": False},
        {"seed": None},
        {"seed": 1.5},
        {"seed": True},
    ],
)
def test_bad_batch_arguments_are_refused(arguments):
    with pytest.raises(ValueError, match=f"Expected {next(iter(arguments))} to be an? .*integer"):
        kdzoo.data.load("digits").train.batches(**arguments)


def test_no_batch_at_all_is_refused():
    with pytest.raises(ValueError, match="at most the number of images, 900"):
        kdzoo.data.load("digits").train.batches(1000, drop_remainder=True)


def test_enlarged_repeats_every_pixel():
    images = np.arange(2 * 3 * 2, dtype="uint8").reshape(2, 3, 2, 1)
    data = kdzoo.data.from_arrays(images, [0, 1], validation=0, test=(images[::-1], [1, 0]))
    large = data.enlarged(3)
    assert large.validation is None
    np.testing.assert_array_equal(large.test.labels, [1, 0])
    for split, expected in ((large.train, images), (large.test, images[::-1])):
        assert split.images.shape == (2, 9, 6, 1)
        for row, column in np.ndindex(3, 3):
            np.testing.assert_array_equal(split.images[:, row::3, column::3], expected)


@pytest.mark.parametrize("number", [255, -1, 2])
def test_images_in_another_range_are_one_warning(number):
    with pytest.warns(UserWarning, match=r"in x, where.*take \[0, 1\].*'ignore'") as caught:
        data = kdzoo.data.from_arrays(GOOD + number, [0, 1, 0, 1], validation=0)
    assert len(caught) == 1
    np.testing.assert_array_equal(data.train.arrays()[0], GOOD + number)


def test_resplit_draws_every_sample_once_and_every_class_in_proportion():
    data = kdzoo.data.load("digits", validation=0.5)
    drawn = [data.resplit(seed) for seed in (0, 1, 1)]
    everything, images_of = None, {}
    for number, whole in enumerate((data, *drawn)):
        splits = [whole.train, whole.validation, whole.test]
        assert [len(split) for split in splits] == [500, 500, 797]
        images, labels = zip(*(split.arrays() for split in splits), strict=True)
        counts = np.stack([np.bincount(part, minlength=10) / len(part) for part in labels])
        assert np.ptp(counts, axis=0).max() < 0.01
        every = sorted(
            (*image.ravel(), label)
            for image, label in zip(np.concatenate(images), np.concatenate(labels), strict=True)
        )
        assert everything in (None, every)
        everything, images_of[number] = every, images[2]
    assert np.array_equal(images_of[2], images_of[3])
    assert not np.array_equal(images_of[1], images_of[2])


def test_resplit_of_images_that_are_stored_differently():
    images = np.full((4, 2, 2, 1), 255, "uint8")
    tested = (np.full((2, 2, 2, 1), 0.5, "float32"), [0, 1])
    data = kdzoo.data.from_arrays(images, [0, 1, 0, 1], validation=0, test=tested).resplit(0)
    assert data.validation is None
    pixels = np.concatenate([data.train.arrays()[0], data.test.arrays()[0]])[:, 0, 0, 0]
    np.testing.assert_array_equal(np.sort(pixels), [0.5, 0.5, 1, 1, 1, 1])
