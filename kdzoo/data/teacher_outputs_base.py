"""Teacher outputs that come with batches: what every source of them offers, and arrays as one."""

import abc
from typing import Any, TypeAlias

import numpy as np

from kdzoo.data.augmentation import Augmentation
from kdzoo.utils import check_numeric_array

Outputs: TypeAlias = np.ndarray | dict[str, np.ndarray]
"""The logits of some samples, or `{"logits": logits, "<layer>": features}`."""

Spec: TypeAlias = tuple[tuple[int, ...], np.dtype]
"""The shape of one sample's output, and its type."""


class TeacherOutputs(abc.ABC):
    """The outputs of a teacher for each sample of a split, from memory or from elsewhere."""

    @abc.abstractmethod
    def at(self, indices: np.ndarray, epoch: int) -> Outputs:
        """Returns the teacher outputs of some samples in an epoch.

        Args:
            indices: Positions in the split, integers (k,).
            epoch: The number of the epoch.

        Returns:
            An array (k, ...), or a dictionary of such.
        """

    @abc.abstractmethod
    def spec(self) -> Spec | dict[str, Spec]:
        """Returns the structure of what `at` returns, (shape, type) in place of each array."""

    def images(self, images: np.ndarray, indices: np.ndarray, epoch: int) -> np.ndarray:
        """Returns the images of some samples as the teacher saw them in an epoch.

        Args:
            images: The images as they are stored, (k, height, width, channels).
            indices: Positions in the split, integers (k,).
            epoch: The number of the epoch.
        """
        return images


class ArrayOutputs(TeacherOutputs):
    """Teacher outputs in memory, for the images as they are stored.

    Args:
        arrays: Array (n, ...), or a dictionary of such.
    """

    def __init__(self, arrays: Outputs):
        self._arrays = arrays

    def at(self, indices: np.ndarray, epoch: int) -> Outputs:
        if isinstance(self._arrays, dict):
            return {name: array[indices] for name, array in self._arrays.items()}
        return self._arrays[indices]

    def spec(self) -> Spec | dict[str, Spec]:
        if isinstance(self._arrays, dict):
            return {name: _spec(array) for name, array in self._arrays.items()}
        return _spec(self._arrays)


def _spec(array: np.ndarray) -> Spec:
    return array.shape[1:], array.dtype


def as_teacher_outputs(
    given: Any, samples: int, augmentation: Augmentation | None
) -> TeacherOutputs:
    """Returns what was given as teacher outputs as a source of them.

    Args:
        given: `TeacherOutputs`, an array, or a dictionary of arrays.
        samples: The number of samples of the split.
        augmentation: What changes the images that they come with.

    Raises:
        ValueError: If there is not an output for each sample, or arrays come with augmentation.
    """
    if isinstance(given, TeacherOutputs):  # They bring the augmentation with them.
        return given
    named = given if isinstance(given, dict) else {"": given}
    arrays = {name: check_numeric_array("teacher_outputs", part) for name, part in named.items()}
    if not arrays:
        raise ValueError("Expected the teacher's logits. Received: teacher_outputs={}")
    for name, array in arrays.items():
        if array.ndim < 2 or len(array) != samples:
            raise ValueError(
                f"Expected teacher outputs for each of the {samples} samples. Received: "
                f"teacher_outputs of shape {array.shape}{name and f' under {name!r}'}"
            )
    if augmentation is not None:
        raise ValueError(
            "Expected no augmentation beside `teacher_outputs`, which are those for the images as "
            f"they are. Received: augmentation={augmentation}"
        )
    return ArrayOutputs(arrays if isinstance(given, dict) else arrays[""])
