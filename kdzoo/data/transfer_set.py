"""Transfer sets: the samples that a student is taught on, where they are not its training set."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from kdzoo.data import image_checks, randomness
from kdzoo.data.dataset import Dataset
from kdzoo.data.hold_out import stratified_choice
from kdzoo.data.split import UNNAMED, Split
from kdzoo.utils import check_integer, check_positive_integer, is_integer, is_number, shown

UNLABELLED = -1
"""The label of a sample whose class is not known."""

_MOST_SAMPLES = 1 << 31
_SAMPLES = 1  # What random choices are for.

Source = Split | Dataset | ArrayLike


def transfer_set(
    *sources: Source,
    without: Sequence[int] = (),
    only: Sequence[int] = (),
    fraction: float | None = None,
    per_class: int | None = None,
    weights: Sequence[float] | None = None,
    size: int | None = None,
    labelled: float | None = None,
    seed: int = 0,
) -> Split:
    """Returns the samples that a student is taught on: parts of data sets, or a mix of several.

    A teacher gives soft targets for any image, so a student can be taught on images without
    labels, of other data sets, or of some of the classes. First each labelled source loses the
    samples that `without`, `only`, `fraction` and `per_class` leave out; then the sources are
    mixed. A sample without a class has the label -1: train on such with `student_loss_weight=0`
    and no loss on labels, or with a loss of `ignore_class=-1`, which counts the labelled ones.

    Args:
        *sources: One or more sources of images of one shape: a `Split`; a `Dataset`, for its
            training samples; or an array of unlabelled images, (n, height, width, channels), uint8
            in [0, 255] or floating point in [0, 1]. Labels of a source by another `name` than the
            first are those of other classes, and are dropped; two labelled data sets without a
            name of their own are refused.
        without: Classes that are left out, of the first source and those of its name.
        only: The only classes that are kept of them; all when empty.
        fraction: The fraction of each source that is kept, above 0 and at most 1, each class in
            proportion; None for all.
        per_class: How many samples of each class are kept, in place of a fraction; at most as many
            as the class has.
        weights: What fraction of the mix each source gets, a number above 0 for each; they are
            divided by their sum. A source that has too few samples repeats them. None to take
            each sample once.
        size: Number of samples in the mix; None for as many as the first source has. Taken with
            `weights`.
        labelled: The fraction of the labelled samples that keep their label, from 0 to 1, each
            class in proportion; None for all. A sample that comes several times counts once,
            and keeps its label each time or never. Of one whole source they are the samples that
            `fraction` would keep.
        seed: Integer of at least 0 that decides every choice.

    Returns:
        A `Split`, of the first source's name, that shares the arrays of a single source; of several
        it stores each sample once.

    Raises:
        ValueError: If a source has no sample or none is left, images have several shapes, it is in
            doubt whose classes labels are, a class does not exist in a source, or an argument is
            not as described.

    Example:

    >>> import kdzoo
    >>> data = kdzoo.data.load("digits")
    >>> no_threes = kdzoo.data.transfer_set(data, without=[3])
    >>> 3 in no_threes.arrays()[1]
    False
    >>> noise = np.random.default_rng(0).random((100, 8, 8, 1), "float32")
    >>> len(kdzoo.data.transfer_set(data, noise, weights=[0.9, 0.1], size=500))
    500

    Reference: Hinton, Vinyals & Dean, 2015, arXiv:1503.02531, sections 3 and 6.
    """
    seed = check_integer("seed", seed, 0)
    _check_numbers(fraction, per_class, labelled)
    _check_lists(without, only)
    splits = [_as_split(source) for source in sources]
    if not splits:
        raise ValueError("Expected at least one source of images. Received: none.")
    _check_splits(splits)
    first = splits[0]
    if _labels(first).max() < 0 and (len(without) or len(only) or per_class is not None):
        raise ValueError(
            "Expected a first source with labels, of whose classes some are chosen. Received: "
            f"{first.name!r} without labels, with without={shown(without)}, only={shown(only)}, "
            f"per_class={per_class}"
        )
    counts = None if weights is None else _counts(weights, size, len(splits), len(first))
    if counts is None and size is not None:
        raise ValueError(f"Expected weights beside a size. Received: weights=None, size={size}")
    chosen = []
    for number, split in enumerate(splits):
        is_first = split.name == first.name and _labels(split).max() >= 0
        places = _selected(split, without if is_first else (), only if is_first else ())
        places = _drawn(_labels(split)[places], places, fraction, per_class, seed, number)
        if counts is not None:
            places = _repeated(places, counts[number], seed, number)
        chosen.append(split.subset(places))
    mixed = chosen[0] if len(chosen) == 1 else _joined(chosen, first)
    return mixed if labelled is None else _partly_labelled(mixed, labelled, seed)


def _check_numbers(fraction: Any, per_class: Any, labelled: Any) -> None:
    if fraction is not None and (not is_number(fraction) or not 0 < fraction <= 1):
        raise ValueError(
            f"Expected fraction to be above 0 and at most 1. Received: fraction={shown(fraction)}"
        )
    if labelled is not None and (not is_number(labelled) or not 0 <= labelled <= 1):
        raise ValueError(
            f"Expected labelled to lie in [0, 1]. Received: labelled={shown(labelled)}"
        )
    if per_class is not None:
        check_positive_integer("per_class", per_class)
        if fraction is not None:
            raise ValueError(
                "Expected a fraction or a number of samples per class. Received: "
                f"fraction={fraction}, per_class={per_class}"
            )


def _check_lists(without: Any, only: Any) -> None:
    for name, classes in {"without": without, "only": only}.items():
        is_list = isinstance(classes, list | tuple | range | np.ndarray)
        if not is_list or not all(is_integer(label) for label in classes):
            raise ValueError(
                f"Expected {name} to be a list of classes. Received: {name}={shown(classes)}"
            )


def _as_split(source: Any) -> Split:
    """A source as a split; unlabelled where it is an array."""
    if isinstance(source, Split):
        return source
    if isinstance(source, Dataset):
        return source.train
    if isinstance(source, str | bytes | tuple | dict):
        raise ValueError(
            "Expected a Split, a Dataset or an array of images. Received: "
            f"{shown(source)}; `kdzoo.data.load(name)` loads a data set, and "
            "`kdzoo.data.from_arrays(x, y)` takes images with labels."
        )
    if not isinstance(source, list) and not hasattr(source, "__array__"):
        raise ValueError(
            "Expected a Split, a Dataset or an array of images. Received: a "
            f"{type(source).__name__}; record a teacher, and make batches, of what this returns."
        )
    images = image_checks.check_images(source, "unlabelled images")
    labels = np.full(len(images), UNLABELLED, "int32")
    return Split(images, labels, 255 if images.dtype == np.uint8 else 1, None, "unlabelled")


def _check_splits(splits: Sequence[Split]) -> None:
    first = splits[0]
    for split in splits:
        if not len(split):
            raise ValueError(
                f"Expected at least one sample in each source. Received: none of {split.name!r}"
            )
        if split.input_shape != first.input_shape:
            raise ValueError(
                f"Expected images of one shape, {first.input_shape}, that of "
                f"{first.name!r}. Received: {split.input_shape} of {split.name!r}"
            )
        is_same = split.images is first.images and split.labels is first.labels
        if first.name == split.name == UNNAMED and not is_same and _labels(split).max() >= 0:
            raise ValueError(
                "Expected names that tell whether data sets have the same classes. Received: two "
                f"by the default name {UNNAMED!r}; give both a `name=`, equal for equal classes"
            )


def _counts(weights: Any, size: Any, sources: int, usual: int) -> list[int]:
    """How many samples of each source are in the mix, by largest remainder."""
    is_list = isinstance(weights, list | tuple | np.ndarray) and len(weights) == sources
    if not is_list or not all(
        is_number(weight) and 0 < weight < float("inf") for weight in weights
    ):
        raise ValueError(
            f"Expected a weight above 0 for each of {sources} sources. Received: "
            f"weights={shown(weights)}"
        )
    size = usual if size is None else check_positive_integer("size", size, _MOST_SAMPLES)
    exact = np.asarray(weights, "float64") / sum(weights) * size
    counts = np.floor(exact).astype(int)
    counts[np.argsort(counts - exact, kind="stable")[: size - counts.sum()]] += 1
    if not counts.all():
        raise ValueError(
            "Expected a mix that has a sample of every source at least. Received: "
            f"weights={shown(weights)}, size={size}"
        )
    return counts.tolist()


def _labels(split: Split) -> np.ndarray:
    return split.labels if split.indices is None else split.labels[split.indices]


def _places(split: Split) -> np.ndarray:
    """Where in its arrays the samples of a split are."""
    return np.arange(len(split.labels)) if split.indices is None else split.indices


def _selected(split: Split, without: Sequence[int], only: Sequence[int]) -> np.ndarray:
    """The positions of the samples of some classes."""
    labels, known = _labels(split), set(np.unique(_labels(split)).tolist())
    for name, classes in {"without": without, "only": only}.items():
        for label in classes:
            if int(label) not in known:
                raise ValueError(
                    f"Expected {name} to hold classes of {split.name!r}, from {min(known)} to "
                    f"{max(known)}. Received: {label}"
                )
    kept = ~np.isin(labels, list(without)) & (np.isin(labels, list(only)) if len(only) else True)
    if not kept.any():
        raise ValueError(
            f"Expected a class that is left of {split.name!r}. Received: without={shown(without)}, "
            f"only={shown(only)}, which leave none"
        )
    return np.flatnonzero(kept)


def _drawn(
    labels: np.ndarray,
    places: np.ndarray,
    fraction: float | None,
    per_class: int | None,
    seed: int,
    number: int,
) -> np.ndarray:
    """Some of the positions, each class in proportion or alike."""
    keys = (seed, number, _SAMPLES)
    if fraction is not None:
        count = round(len(places) * fraction)
        if not count:
            raise ValueError(
                f"Expected a fraction of {len(places)} samples that leaves one. Received: "
                f"fraction={fraction}"
            )
        return places[stratified_choice(labels, count, *keys)]
    if per_class is None or labels.max() < 0:
        return places
    order = randomness.permutation(len(places), *keys)
    chosen = []
    for label in np.unique(labels):
        of_class = order[labels[order] == label]
        if len(of_class) < per_class:
            raise ValueError(
                f"Expected per_class to be at most {len(of_class)}, the samples of class {label}. "
                f"Received: per_class={per_class}"
            )
        chosen.append(of_class[:per_class])
    return places[np.sort(np.concatenate(chosen))]


def _repeated(places: np.ndarray, count: int, seed: int, number: int) -> np.ndarray:
    """So many of the positions: each as often as the others, or once more."""
    order = randomness.permutation(len(places), seed, number, _SAMPLES + 1)
    return places[np.sort(np.resize(order, count))]


def _joined(splits: Sequence[Split], first: Split) -> Split:
    """The samples of several splits as one; their classes are those of the first one's name.

    A sample that comes several times is stored once, so that it stays known as one.
    """
    is_alike = len({(split.images.dtype, split.scale) for split in splits}) == 1
    arrays = [(id(split.images), split.scale) for split in splits]
    keys = []
    for split, array in zip(splits, arrays, strict=True):
        known = _labels(split) if split.name == first.name else UNLABELLED
        key = np.broadcast_arrays(arrays.index(array), _places(split), known)
        keys.append(np.stack(key, axis=1))
    samples = np.concatenate(keys)
    _, once, found = np.unique(samples, axis=0, return_index=True, return_inverse=True)
    is_new = np.isin(np.arange(len(samples)), once)
    images = []
    for split, new in zip(splits, np.split(is_new, np.cumsum([*map(len, keys)][:-1])), strict=True):
        stored, _ = split.examples(new)
        images.append(stored if is_alike else split.to_float(stored))
    # Stored in the order in which they first come.
    indices = None if is_new.all() else np.argsort(np.argsort(once))[found.ravel()]
    labels = samples[is_new, 2].astype("int32")
    scale = first.scale if is_alike else 1
    return Split(np.concatenate(images), labels, scale, indices, first.name)


def _partly_labelled(split: Split, fraction: float, seed: int) -> Split:
    """The same samples, of which some keep their label."""
    labels = split.labels.copy()
    known = _places(split)
    known = known[labels[known] >= 0]
    if not known.size:
        raise ValueError(
            "Expected labelled samples, a fraction of which keeps its labels. Received: "
            f"labelled={fraction} of samples without any"
        )
    # A sample that comes several times is one, and those that `fraction` would choose are chosen.
    known = known[np.sort(np.unique(known, return_index=True)[1])]
    kept = known[:0]
    if round(len(known) * fraction):
        kept = _drawn(labels[known], known, fraction, None, seed, 0)
    labels[np.setdiff1d(known, kept)] = UNLABELLED
    where = split.indices
    return Split(split.images, labels, split.scale, where, split.name, paths=split._paths)
