"""Batches of any arrays, in an order that follows from (seed, epoch), to give to `fit`."""

from typing import Any

import numpy as np

from kdzoo.data import randomness
from kdzoo.data.batches import Batches


class ArrayMaker:
    """What `Batches` reads: batches of inputs and labels.

    Args:
        inputs: Array (n, ...).
        indices: Which inputs the samples have, integers (k,); one may come several times.
        labels: Of the samples, array (k, ...).
        batch_size: Samples in a batch.
        seed: Decides the order, another one each epoch; None for that of the samples.
    """

    def __init__(
        self,
        inputs: np.ndarray,
        indices: np.ndarray,
        labels: np.ndarray,
        batch_size: int,
        seed: int | None,
    ):
        self.inputs, self.indices, self.labels = inputs, indices, labels
        self.batch_size, self.seed = batch_size, seed
        self.count = -(-len(labels) // batch_size)

    def order(self, epoch: int) -> np.ndarray:
        """Returns the positions of all samples in the order of this epoch."""
        if self.seed is None:
            return np.arange(len(self.labels))
        return randomness.permutation(len(self.labels), self.seed, epoch, 0)

    def batch(self, order: np.ndarray, epoch: int, position: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns a batch of an epoch."""
        start = position * self.batch_size
        places = order[start : start + self.batch_size]
        return self.inputs[self.indices[places]], self.labels[places]


def array_batches(
    inputs: np.ndarray,
    indices: np.ndarray,
    labels: np.ndarray,
    batch_size: int,
    seed: int | None,
    initial_epoch: int,
) -> Batches:
    """Returns batches of arrays, whose every pass is one epoch.

    Args:
        inputs: Array (n, ...).
        indices: Which inputs the samples have, integers (k,).
        labels: Of the samples, array (k, ...).
        batch_size: Samples in a batch.
        seed: Decides the order, another one each epoch; None for that of the samples.
        initial_epoch: Number of the first epoch.
    """
    maker: Any = ArrayMaker(inputs, indices, labels, batch_size, seed)
    return Batches(maker, initial_epoch)
