"""The channels of one tensor of a graph: which of its values go together with which weights."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np


class NotUnderstoodError(Exception):
    """A call through which channels cannot be followed; the text is the reason."""


@dataclasses.dataclass(frozen=True)
class Channels:
    """What is known of the channels of a tensor.

    Attributes:
        shape: The tensor's shape, None for unknown sizes.
        ids: Integers of as many axes as the tensor; an axis is of size 1 where all positions along
            it belong to the same channels. Values of one number go or stay together; those of 0
            always stay.
        constants: Floats of the shape of `ids`: the value that the channel has for every input of
            the model, NaN where it depends on the input.
    """

    shape: tuple
    ids: np.ndarray
    constants: np.ndarray

    def moved(self, shape: Sequence, move: Callable[[np.ndarray], np.ndarray]) -> "Channels":
        """Returns the channels of another shape, to which a function carries both arrays."""
        return Channels(tuple(shape), move(self.ids), move(self.constants))

    def with_constants(self, constants: np.ndarray) -> "Channels":
        """Returns channels of the same numbers with other constants."""
        return Channels(self.shape, self.ids, np.broadcast_to(constants, self.ids.shape))

    @property
    def varying(self) -> list[int]:
        """The axes along which the channels differ."""
        return [axis for axis, size in enumerate(self.ids.shape) if size > 1]

    def along(self, axis: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the numbers and the constants along one axis, vectors of its size.

        Raises:
            NotUnderstoodError: If the channels differ along another axis too, or its size is not
                known.
        """
        axis %= len(self.shape)
        if set(self.varying) - {axis}:
            raise NotUnderstoodError("the channels lie along another axis")
        if self.shape[axis] is None:
            raise NotUnderstoodError("the number of channels is not known")
        size = (self.shape[axis],)
        ids, constants = self.ids.reshape(-1), self.constants.reshape(-1)
        return np.broadcast_to(ids, size), np.broadcast_to(constants, size)

    def reshaped(self, shape: Sequence) -> "Channels":
        """Returns the channels after the tensor was brought into another shape.

        Args:
            shape: The new shape, the batch included.

        Raises:
            NotUnderstoodError: If a size is not known where the channels differ, or samples are
                joined with other axes, such as by a partition into windows.
        """
        if not self.varying:
            return self.moved(shape, lambda array: array.reshape((1,) * len(shape)))
        if None in self.shape[1:] or None in tuple(shape)[1:]:
            raise NotUnderstoodError("it reshapes sizes that are not known")
        if np.prod(self.shape[1:]) != np.prod(tuple(shape)[1:]):
            raise NotUnderstoodError("it joins the samples of the batch with other axes")

        def move(array):
            return np.broadcast_to(array, (1, *self.shape[1:])).reshape((1, *shape[1:]))

        return self.moved(shape, move).squeezed()

    def squeezed(self) -> "Channels":
        """Returns channels whose axes are of size 1 where nothing differs along them."""
        ids, constants = self.ids, self.constants
        for axis in range(ids.ndim):
            first = (np.take(ids, [0], axis), np.take(constants, [0], axis))
            if (ids == first[0]).all() and _equal(constants, first[1]).all():
                ids, constants = first
        return Channels(self.shape, ids, constants)


def fixed(shape: Sequence) -> Channels:
    """Returns the channels of a tensor of which nothing may go.

    Args:
        shape: The tensor's shape.
    """
    ones = (1,) * len(shape)
    return Channels(tuple(shape), np.zeros(ones, "int64"), np.full(ones, np.nan))


def lying_along(shape: Sequence, axis: int, ids: np.ndarray, constants: np.ndarray) -> Channels:
    """Returns the channels of a tensor from vectors along one of its axes.

    Args:
        shape: The tensor's shape.
        axis: The axis.
        ids: The numbers.
        constants: The constants.
    """
    sizes = [1] * len(shape)
    sizes[axis] = len(ids)
    return Channels(tuple(shape), ids.reshape(sizes), np.asarray(constants, float).reshape(sizes))


def _equal(one, two):
    return (one == two) | (np.isnan(one) & np.isnan(two))


def matter(constants: np.ndarray) -> np.ndarray:
    """Returns which constants differ from 0 by more than what an old moving average leaves.

    Args:
        constants: The constants; NaN where there is none.
    """
    return np.abs(np.nan_to_num(constants)) > 1e-7
