"""Batches in the form that `fit` of the current Keras backend reads.

Both forms deliver the same stream, bit by bit, as long as every epoch is read to its end: all
batches of epoch `initial_epoch`, then all of the next epoch, and so on. An epoch is over when its
last batch was handed out; one that was broken off before starts again from its first batch. On
TensorFlow batches are made ahead of the reading, so an epoch that is broken off within its last few
batches counts as over, and the next pass is the next epoch; elsewhere it starts again, and so does
one that Keras only peeked into to build a model. To resume exactly, make new batches with
`initial_epoch`.
"""

import typing
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from kdzoo.data import randomness
from kdzoo.data.augmentation import Augmentation
from kdzoo.data.teacher_outputs_base import TeacherOutputs
from kdzoo.graph.untuned_passes import untuned
from kdzoo.utils import heavy_libraries

if typing.TYPE_CHECKING:
    import tensorflow as tf

    from kdzoo.data.split import Split

_ORDER = 0
_PREFETCHED = 2


class BatchMaker:
    """Computes any batch of any epoch, in NumPy.

    Args:
        split: A `Split`.
        batch_size: Number of images in a batch.
        shuffle: Whether every epoch has an order of its own.
        augmentation: An `Augmentation` or None.
        seed: Integer that decides order and augmentation.
        drop_remainder: Whether the last batch is left out when it is not full.
        with_indices: Whether the labels are `{"label": labels, "index": positions}`.
        teacher_outputs: The outputs of a teacher for each sample of the split, or None. The labels
            are then `{"label": labels, "teacher": outputs}`.

    Raises:
        ValueError: If there is no full batch and only full ones are wanted.
    """

    def __init__(
        self,
        split: "Split",
        batch_size: int,
        shuffle: bool,
        augmentation: Augmentation | None,
        seed: int,
        drop_remainder: bool,
        with_indices: bool = False,
        teacher_outputs: TeacherOutputs | None = None,
    ):
        self.split = split
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.augmentation = augmentation
        self.seed = seed
        self.with_indices = with_indices
        self.teacher_outputs = teacher_outputs
        full, rest = divmod(len(split), batch_size)
        self.count = full if drop_remainder or not rest else full + 1
        self.static_batch_size = batch_size if drop_remainder or not rest else None
        if not self.count:
            raise ValueError(
                f"Expected `batch_size` to be at most the number of images, {len(split)}, when "
                f"`drop_remainder` is set. Received: batch_size={batch_size}"
            )

    def order(self, epoch: int) -> np.ndarray:
        """Returns the indices of all samples in the order of this epoch."""
        if self.shuffle:
            return randomness.permutation(len(self.split), self.seed, epoch, _ORDER)
        return np.arange(len(self.split))

    def batch(self, order: np.ndarray, epoch: int, position: int) -> tuple[np.ndarray, Any]:
        """Returns a batch of an epoch: images in [0, 1] and labels.

        Args:
            order: What `order` returned for the epoch.
            epoch: The number of the epoch.
            position: The number of the batch in the epoch.
        """
        start = position * self.batch_size
        indices = order[start : start + self.batch_size]
        images, labels = self.split.examples(indices)
        if self.augmentation is not None:
            images = self.augmentation(images, indices, self.seed, epoch)
        parts: dict[str, Any] = {"label": labels}
        if self.with_indices:
            parts["index"] = indices.astype("int32")
        if self.teacher_outputs is not None:
            images = self.teacher_outputs.images(images, indices, epoch)
            parts["teacher"] = self.teacher_outputs.at(indices, epoch)
        return self.split.to_float(images), parts if len(parts) > 1 else labels


def make(maker: BatchMaker, initial_epoch: int) -> "tf.data.Dataset | Batches":
    """Returns the batches of a `BatchMaker` for the current backend.

    Args:
        maker: The `BatchMaker`.
        initial_epoch: The number of the first epoch.
    """
    if keras.config.backend() == "tensorflow":
        return tf_dataset(maker, initial_epoch)
    return Batches(maker, initial_epoch)


def tf_dataset(maker: BatchMaker, initial_epoch: int = 0) -> "tf.data.Dataset":
    """Returns a `tf.data.Dataset` whose every pass is one epoch.

    Args:
        maker: A `BatchMaker`.
        initial_epoch: Number of the first epoch.

    Returns:
        A `tf.data.Dataset` of (images, labels) that knows its length and prefetches two batches.
    """
    tf = heavy_libraries.tensorflow()
    next_epoch = initial_epoch

    def one_pass():
        nonlocal next_epoch
        epoch = next_epoch
        order = maker.order(epoch)
        for position in range(maker.count):
            batch = maker.batch(order, epoch, position)
            # Before the last batch goes out: Keras never asks for what comes after it.
            if position == maker.count - 1:
                next_epoch = max(next_epoch, epoch + 1)
            yield batch

    size = maker.static_batch_size

    def batch_of(shape, dtype):
        return tf.TensorSpec((size, *shape), dtype)

    labels = {"label": batch_of((), tf.int32)}
    if maker.with_indices:
        labels["index"] = batch_of((), tf.int32)
    if maker.teacher_outputs is not None:
        spec = maker.teacher_outputs.spec()
        labels["teacher"] = (
            {name: batch_of(*part) for name, part in spec.items()}
            if isinstance(spec, dict)
            else batch_of(*spec)
        )
    images = batch_of(maker.split.input_shape, tf.float32)
    signature = images, labels if len(labels) > 1 else labels["label"]
    dataset = tf.data.Dataset.from_generator(one_pass, output_signature=signature)
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(maker.count))
    return untuned(dataset.prefetch(_PREFETCHED))


class Batches(keras.utils.PyDataset):
    """The stream of batches as a `keras.utils.PyDataset`, for backends other than TensorFlow.

    Keras asks a `PyDataset` for batches by number and, unless `fit` is told `shuffle=False`, in an
    order drawn from Python's global generator, which no restart can repeat. While Keras reads,
    batches are therefore delivered in the order of the stream, whatever number it requests.

    Args:
        maker: A `BatchMaker`.
        initial_epoch: Number of the first epoch.
    """

    def __init__(self, maker: BatchMaker, initial_epoch: int = 0):
        self._maker = maker
        self._epoch = initial_epoch
        self._position = 0
        self._order: np.ndarray | None = None
        self._keras_reads = False
        self._keras_peeks = False
        super().__init__()

    def __len__(self) -> int:
        return self._maker.count

    def __getitem__(self, index: int) -> tuple[np.ndarray, Any]:
        if not self._keras_reads:
            return self._batch(range(len(self))[index])
        batch = self._batch(self._position)
        self._position += 1
        if self._position == len(self) and not self._keras_peeks:
            self._start(self._epoch + 1)
        return batch

    def __iter__(self) -> Iterator[tuple[np.ndarray, Any]]:
        for index in range(len(self)):
            yield self._batch(index)
        self._start(self._epoch + 1)

    @property
    def workers(self) -> int:
        """One: batches are made in the thread that asks for them.

        Keras reads this once at the start of each `fit`, `evaluate` or `predict`, before it may
        peek at a batch.
        """
        self._keras_peeks = True
        self._start(self._epoch)
        return 1

    @workers.setter
    def workers(self, value: int) -> None:
        del value

    def on_epoch_begin(self) -> None:
        """Called by Keras before it reads an epoch, or peeks."""
        self._keras_reads = True

    def on_epoch_end(self) -> None:
        """Called by Keras after an epoch, after a peek, and before an evaluation."""
        if self._keras_peeks or not self._keras_reads:
            self._start(self._epoch)
        self._keras_reads = self._keras_peeks = False

    def _start(self, epoch):
        if epoch != self._epoch:
            self._order = None
        self._epoch, self._position = epoch, 0

    def _batch(self, position):
        if self._order is None:
            self._order = self._maker.order(self._epoch)
        return self._maker.batch(self._order, self._epoch, position)
