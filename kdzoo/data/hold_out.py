"""Samples that are held out for validation: at random, each class in proportion to its size."""

import numpy as np

from kdzoo.data import randomness
from kdzoo.data.split import Split
from kdzoo.utils import check_fraction

VALIDATION_FRACTION = 0.1
_VALIDATION_SEED = 20150309


def hold_out(
    train: Split, fraction: float | None = None, seed: int = _VALIDATION_SEED
) -> tuple[Split, Split | None]:
    """Splits off validation samples, each class in proportion, always the same ones.

    Args:
        train: A `Split`.
        fraction: The fraction of the samples to hold out, from 0 to below 1. None: a tenth.
        seed: Integer that decides which ones.

    Returns:
        What is left to train on and what was held out, two `Split`s on the same arrays; the second
        is None when the fraction holds out nothing.

    Raises:
        ValueError: If the fraction is out of range.
    """
    fraction = VALIDATION_FRACTION if fraction is None else fraction
    fraction = check_fraction("validation", fraction)
    count = min(round(len(train) * fraction), len(train) - 1)
    if not count:
        return train, None
    labels = train.labels if train.indices is None else train.labels[train.indices]
    chosen = stratified_choice(labels, count, seed)
    rest = np.setdiff1d(np.arange(len(train)), chosen)
    return train.subset(rest), train.subset(chosen)


def stratified_choice(labels: np.ndarray, count: int, *keys: int) -> np.ndarray:
    """Chooses `count` samples at random, every class in proportion to its size.

    Args:
        labels: Integer classes, shape (n,).
        count: How many samples to choose, from 0 to n.
        *keys: Integers that select the stream.

    Returns:
        Sorted int64 indices, shape (count,). Where a class's part is no whole number, it
        is rounded by largest remainder, so that no class is more than one sample away from it.
    """
    _, classes, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    exact = sizes * count / len(labels)
    quotas = np.floor(exact).astype(np.int64)
    most_short = np.argsort(quotas - exact, kind="stable")
    quotas[most_short[: count - quotas.sum()]] += 1
    order = randomness.permutation(len(labels), *keys)
    chosen = [order[classes[order] == label][:quota] for label, quota in enumerate(quotas)]
    return np.sort(np.concatenate(chosen))
