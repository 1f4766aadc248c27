"""Which classes a model confuses: clusters of the covariance of its predictions."""

import numpy as np
from numpy.typing import ArrayLike

from kdzoo.data import randomness
from kdzoo.utils import check_integer, check_numeric_array, check_positive_integer

_PASSES = 20
_START, _ORDER = 0, 1  # What random choices are for.


def confusable_classes(logits: ArrayLike, clusters: int, *, seed: int = 0) -> list[list[int]]:
    """Returns clusters of classes that a model often predicts together.

    Online K-means on the columns of the covariance matrix of its predicted probabilities: two
    classes are alike if they vary with the others in the same way over the samples. No labels are
    needed.

    Args:
        logits: What the model gives for some samples, (samples, classes).
        clusters: Number of clusters, from 1 to the number of classes.
        seed: Integer of at least 0 that decides where the clusters start.

    Returns:
        Lists of classes, each class in one of them; in the order of their smallest class.

    Raises:
        ValueError: If the logits are no finite array of two or more classes and samples, or there
            are more clusters than classes.

    Example:

    >>> logits = np.array([[9, 8, 0, 0], [8, 9, 0, 0], [0, 0, 9, 8], [0, 0, 8, 9]], "float32")
    >>> confusable_classes(logits, 2)
    [[0, 1], [2, 3]]

    Reference: Hinton, Vinyals & Dean, 2015, arXiv:1503.02531, section 5.1; online K-means of
    MacQueen, 1967: a centre moves by 1/n towards the n-th point that is nearest to it.
    """
    logits = check_numeric_array("logits", logits).astype("float64")
    is_matrix = logits.ndim == 2 and min(logits.shape) >= 2
    if not is_matrix or not np.isfinite(logits).all():
        raise ValueError(
            "Expected finite logits of two or more samples and classes, (samples, classes). "
            f"Received: logits of shape {logits.shape}"
        )
    classes = logits.shape[1]
    clusters = check_positive_integer("clusters", clusters)
    if clusters > classes:
        raise ValueError(
            f"Expected at most {classes} clusters of {classes} classes. Received: "
            f"clusters={clusters}"
        )
    seed = check_integer("seed", seed, least=0)
    shifted = logits - logits.max(-1, keepdims=True)
    probs = np.exp(shifted - np.log(np.exp(shifted).sum(-1, keepdims=True)))
    columns = np.cov(probs, rowvar=False)
    nearest = _clustered(columns, clusters, seed)
    found = [np.flatnonzero(nearest == cluster).tolist() for cluster in range(clusters)]
    return sorted(found)


def _clustered(points: np.ndarray, clusters: int, seed: int) -> np.ndarray:
    """The cluster of each point; none is empty."""
    centres = points[_spread(points, clusters, seed)].copy()
    counts = np.ones(clusters)
    for turn in range(_PASSES):
        for place in randomness.permutation(len(points), seed, turn, _ORDER):
            cluster = int(_distances(points[place : place + 1], centres).argmin())
            counts[cluster] += 1
            centres[cluster] += (points[place] - centres[cluster]) / counts[cluster]
    distances = _distances(points, centres)
    nearest = distances.argmin(-1)
    for cluster in range(clusters):
        if not (nearest == cluster).any():  # It takes the point that is farthest from its own.
            alone = np.bincount(nearest, minlength=clusters)[nearest] > 1
            own = np.where(alone, distances[np.arange(len(points)), nearest], -1)
            nearest[own.argmax()] = cluster
    return nearest


def _spread(points: np.ndarray, count: int, seed: int) -> list[int]:
    """Points far from each other: a random one, then always that farthest from those chosen."""
    chosen = randomness.integers([0], len(points), seed, _START).tolist()
    while len(chosen) < count:
        distances = _distances(points, points[chosen]).min(-1)
        distances[chosen] = -1
        chosen.append(int(distances.argmax()))
    return chosen


def _distances(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
    return ((points[:, None] - centres[None]) ** 2).sum(-1)
