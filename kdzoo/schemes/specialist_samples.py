"""The samples of specialists: half of them of their classes, half of all others."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from kdzoo.data import Split
from kdzoo.data.array_batches import array_batches
from kdzoo.data.catalog import resolve_augmentation
from kdzoo.utils import shown


class Samples(NamedTuple):
    """Samples of all classes, which are found by their position.

    Attributes:
        source: A `Split`, or an array of inputs (n, ...).
        labels: Their labels, integers (n,).
    """

    source: Any
    labels: np.ndarray

    @property
    def inputs(self) -> np.ndarray:
        """The inputs, (n, ...); images of a split are float32 in [0, 1]."""
        return self.source.arrays()[0] if isinstance(self.source, Split) else self.source

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input."""
        is_split = isinstance(self.source, Split)
        return self.source.input_shape if is_split else self.source.shape[1:]


class Mix(NamedTuple):
    """Samples of a specialist, some of which come several times.

    Attributes:
        indices: Positions of the samples, integers (k,), first those of its classes.
        labels: The places of their labels among its classes, int32 (k,); that behind the last is
            the dustbin's.
        ratio: Samples of other classes for each of its classes, before any is repeated.
    """

    indices: np.ndarray
    labels: np.ndarray
    ratio: float


def check_samples(name: str, data: Any, classes: int, augmentation: Any = None) -> Samples:
    """Returns samples whose labels are looked up.

    Args:
        name: What the caller calls them.
        data: A `Split`, or arrays (x, y).
        classes: Number of classes.
        augmentation: What the images of a split are to be augmented by.

    Raises:
        ValueError: If they are something else, or a label is none of the classes.
    """
    source: Any
    if isinstance(data, Split):
        source, labels = data, data.labels if data.indices is None else data.labels[data.indices]
        resolve_augmentation(augmentation, data.name)
    elif isinstance(data, tuple | list) and len(data) == 2:
        source, labels = np.asarray(data[0]), np.asarray(data[1])
        if not source.ndim:
            raise ValueError(
                f"Expected {name} as arrays (x, y), of one input. Received: x={shown(data[0])}"
            )
        if augmentation is not None:
            raise ValueError(
                "Expected augmentation only for the images of a split. Received: "
                f"augmentation={shown(augmentation)} beside arrays"
            )
        if labels.shape != (len(source),) or not np.issubdtype(labels.dtype, np.integer):
            raise ValueError(
                f"Expected an integer label for each of {len(source)} inputs in {name}. Received: "
                f"labels of type {labels.dtype} and shape {labels.shape}"
            )
    else:
        raise ValueError(
            f"Expected {name} as a kdzoo.data.Split or as arrays (x, y), as half of a specialist's "
            "samples are of its classes and are looked up by their labels. Received: a "
            f"{type(data).__name__}; join the batches of a stream by `np.concatenate`."
        )
    if not len(labels) or labels.min() < 0 or labels.max() >= classes:
        found = f" from {labels.min()} to {labels.max()}" if len(labels) else ""
        raise ValueError(
            f"Expected samples with labels from 0 to {classes - 1} in {name}. Received: "
            f"{len(labels)} labels{found}"
        )
    return Samples(source, labels)


def mix_for(name: str, samples: Samples, classes: Sequence[int]) -> Mix:
    """Returns the samples of a specialist, as many of its classes as of others.

    Whichever are fewer are repeated in turn, until there are as many as of the others.

    Args:
        name: What the caller calls the samples.
        samples: Those of all classes.
        classes: Those of the specialist.

    Raises:
        ValueError: If there are only samples of its classes, or none.
    """
    labels = samples.labels
    place = np.full(labels.max() + 1 + max(classes), len(classes))
    place[list(classes)] = np.arange(len(classes))
    own_labels = place[labels]
    own, others = (
        np.flatnonzero((own_labels < len(classes)) == is_own) for is_own in (True, False)
    )
    if not own.size or not others.size:
        which = "of its classes" if not own.size else "of other classes"
        raise ValueError(
            f"Expected samples {which} in {name} for the specialist of {shown(list(classes))}. "
            "Received: none"
        )
    size = max(own.size, others.size)
    indices = np.concatenate([np.resize(own, size), np.resize(others, size)])
    return Mix(indices, own_labels[indices].astype("int32"), others.size / own.size)


def training_batches(
    samples: Samples, mix: Mix, batch_size: int, augmentation: Any, seed: int
) -> Callable[[int], Any]:
    """Returns a function from an epoch to the batches of a specialist from there on.

    Args:
        samples: Those of all classes.
        mix: Those of the specialist.
        batch_size: Samples a step.
        augmentation: What the images of a split are augmented by, or None.
        seed: Decides the order, which is another one each epoch, and the augmentation.
    """
    source = samples.source
    if not isinstance(source, Split):
        return lambda epoch: array_batches(source, *mix[:2], batch_size, seed, epoch)
    mixed = _relabelled(source, mix)
    return lambda epoch: mixed.batches(
        batch_size, shuffle=True, augmentation=augmentation, seed=seed, initial_epoch=epoch
    )


def validation_batches(samples: Samples, mix: Mix, batch_size: int) -> Any:
    """Returns the batches that a specialist is validated on, in the same order each time.

    Args:
        samples: Those of all classes.
        mix: Those of the specialist.
        batch_size: Samples a step.
    """
    if not isinstance(samples.source, Split):
        return array_batches(samples.source, *mix[:2], batch_size, None, 0)
    return _relabelled(samples.source, mix).batches(batch_size)


def _relabelled(split: Split, mix: Mix) -> Split:
    """The images of a mix, with its labels."""
    stored = np.arange(len(split.labels)) if split.indices is None else split.indices
    # The labels belong to the positions in the mix, so the images are looked up by them.
    return _Relabelled(split.images, mix.labels, split.scale, stored[mix.indices], split.name)


class _Relabelled(Split):
    """A split whose labels are those of its positions, as a sample may come several times."""

    def examples(self, indices: Any) -> tuple[np.ndarray, np.ndarray]:
        return self.images[self._places(indices)], self.labels[indices]

    def __len__(self) -> int:
        return len(self.labels)
