"""One part of a data set: labelled images in memory, and the batches that are made of them."""

import typing
import warnings
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from kdzoo.data import batches, image_checks
from kdzoo.data.augmentation import Augmentation
from kdzoo.data.catalog import resolve_augmentation
from kdzoo.data.teacher_outputs_base import TeacherOutputs, as_teacher_outputs
from kdzoo.utils import check_flag, check_integer, check_positive_integer

if typing.TYPE_CHECKING:
    import tensorflow as tf


UNNAMED = "arrays"
"""What a data set is called that was not given a name."""


class Split:
    """One part of a data set: images in memory as they were stored, float32 in [0, 1] when they
    leave.

    Args:
        images: Array (n, height, width, channels), uint8 or float32.
        labels: int32 array (n,).
        scale: Value that stands for white; images are divided by it. 1 for float32 images.
        indices: Positions in the arrays of the samples that belong to the split, integers (k,), or
            None for all. Two splits may share their arrays.
        name: Name of the data set, which decides what `augmentation="default"` means.
        paths: The file of each image in the arrays, relative to the data set's folder, or None.
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        scale: float = 255,
        indices: np.ndarray | None = None,
        name: str = UNNAMED,
        *,
        paths: Sequence[str] | None = None,
    ):
        self.images = images
        self.labels = labels
        self.scale = scale
        self.indices = indices
        self.name = name
        self._paths = paths

    def __len__(self) -> int:
        return len(self.labels) if self.indices is None else len(self.indices)

    def __repr__(self) -> str:
        return f"<Split of {self.name}: {len(self)} images of {self.input_shape}>"

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Shape (height, width, channels) of one image."""
        height, width, channels = self.images.shape[1:]
        return height, width, channels

    @property
    def paths(self) -> list[str] | None:
        """The file of each sample, relative to the data set's folder; None for other images."""
        if self._paths is None:
            return None
        return [self._paths[place] for place in self._places(slice(None))]

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns float32 images (n, height, width, channels) in [0, 1] and int32 labels (n,)."""
        images, labels = self.examples(np.arange(len(self)))
        return self.to_float(images), labels

    def examples(self, indices: ArrayLike | slice) -> tuple[np.ndarray, np.ndarray]:
        """Returns some images as they are stored, and their labels.

        Args:
            indices: Positions in this split, integers (k,), a slice, or a boolean for each sample.

        Returns:
            Images (k, height, width, channels) of the stored type, and labels int32 (k,).

        Raises:
            ValueError: If they are no positions.
        """
        places = self._places(indices)
        return self.images[places], self.labels[places]

    def _places(self, indices: ArrayLike | slice) -> np.ndarray:
        """Returns where in the arrays the samples at some positions of this split are."""
        positions = image_checks.check_positions(indices, len(self))
        return positions if self.indices is None else self.indices[positions]

    def to_float(self, images: np.ndarray) -> np.ndarray:
        """Returns stored images as float32 in [0, 1].

        Args:
            images: Images of this split, (k, height, width, channels) of the stored type.
        """
        if images.dtype == np.float32:
            return images
        return np.divide(images, np.float32(self.scale), dtype=np.float32)

    def subset(self, indices: ArrayLike | slice) -> "Split":
        """Returns the split that consists of some samples of this one, without copying images.

        Args:
            indices: Positions in this split, integers (k,), a slice, or a boolean for each sample.

        Raises:
            ValueError: If there is none, or they are no positions.
        """
        places = self._places(indices)
        if not places.size:
            raise ValueError("Expected the position of at least one sample. Received: indices=[]")
        return Split(self.images, self.labels, self.scale, places, self.name, paths=self._paths)

    def batches(
        self,
        batch_size: int = 128,
        shuffle: bool = False,
        augmentation: Augmentation | Literal["default"] | None = None,
        seed: int = 0,
        initial_epoch: int = 0,
        drop_remainder: bool = False,
        indices: bool = False,
        teacher_outputs: ArrayLike | dict[str, ArrayLike] | TeacherOutputs | None = None,
        answers: Any = None,
    ) -> "tf.data.Dataset | batches.Batches":
        """Returns batches to give to `fit`, `evaluate` or `predict`.

        Every pass is one epoch. The first is number `initial_epoch`; each `fit` that is given the
        same object goes on with the next, so give each training its own `batches(...)`. Order and
        augmentation follow from (seed, epoch, sample) alone: a training that stops after epoch k
        and goes on with `initial_epoch=k`, here and in `fit`, sees what it would have seen
        undisturbed, and every backend sees the same.

        Args:
            batch_size: Number of images in a batch, at least 1.
            shuffle: Whether every epoch has a random order of its own.
            augmentation: An `Augmentation`, "default" for the usual one of this data set, or None.
            seed: Integer of at least 0 that decides order and augmentation.
            initial_epoch: Number of the first epoch, at least 0.
            drop_remainder: Whether the last batch is left out when it is not full.
            indices: Whether the labels come as `{"label": labels, "index": positions}`, with the
                position of each sample in this split, as a Distiller hands it to losses that keep
                something for each sample.
            teacher_outputs: A teacher's logits for each sample of this split, array (n, classes),
                as `teacher.predict(split.arrays()[0])` gives them, or, for losses that tap layers,
                `{"logits": logits, "<layer>": features}`. The labels then come as `{"label":
                labels, "teacher": outputs}`, for a Distiller with `teacher=None`. They are the
                outputs for the images as they are: leave them out where images are augmented.
            answers: The old name of `teacher_outputs`.

        Returns:
            (images, labels) batch by batch, float32 (batch, height, width, channels) in [0, 1] and
            int32 (batch,): a `tf.data.Dataset` on the TensorFlow backend, a
            `keras.utils.PyDataset` of NumPy arrays on others.

        Raises:
            ValueError: If an argument is not as described.

        Example (Keras warns when `fit` is not told that the batches are shuffled already):

        ```python
        data = kdzoo.data.load("fashion_mnist")
        batches = data.train.batches(128, shuffle=True, augmentation="default")
        validation = data.validation.batches(500)
        model.fit(batches, epochs=10, validation_data=validation, shuffle=False)
        ```
        """
        if answers is not None:
            message = "`answers` is called `teacher_outputs` now; the old name will be removed."
            warnings.warn(message, DeprecationWarning, stacklevel=2)
            teacher_outputs = answers
        batch_size = check_positive_integer("batch_size", batch_size)
        seed = check_integer("seed", seed, 0)
        initial_epoch = check_integer("initial_epoch", initial_epoch, 0)
        shuffle, indices = check_flag("shuffle", shuffle), check_flag("indices", indices)
        drop_remainder = check_flag("drop_remainder", drop_remainder)
        augment, outputs = resolve_augmentation(augmentation, self.name), None
        if teacher_outputs is not None:
            outputs = as_teacher_outputs(teacher_outputs, len(self), augment)
        maker = batches.BatchMaker(
            self, batch_size, shuffle, augment, seed, drop_remainder, indices, outputs
        )
        return batches.make(maker, initial_epoch)
