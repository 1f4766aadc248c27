"""The outputs of a teacher that were recorded, joined with the images that they are for."""

import copy
import pathlib
import typing
from collections.abc import Callable, Iterable
from typing import Any

import keras
import numpy as np

from kdzoo.data.augmentation import Augmentation
from kdzoo.data.split import Split
from kdzoo.data.teacher_outputs_base import Outputs, Spec, TeacherOutputs
from kdzoo.teacher_cache.fingerprints import fingerprint_of_data, fingerprint_of_model, is_alike
from kdzoo.teacher_cache.record_index import INDEX, read_index
from kdzoo.teacher_cache.record_layout import record_type
from kdzoo.teacher_cache.record_shards import SMALL_RECORD, check_shard, read_shard
from kdzoo.teacher_cache.teacher_predictor import (
    LOGITS,
    TeacherPredictor,
    check_paths,
    check_teacher,
)
from kdzoo.teacher_cache.top_k_logits import OF_TOP_K, PLACES, logits_of
from kdzoo.utils import check_choice, check_path, check_regular
from kdzoo.utils.types import PathLike

if typing.TYPE_CHECKING:
    import tensorflow as tf

    from kdzoo.data.batches import Batches

WORDS = {
    "examples_a_shard": "version of kdzoo",
    "data": "data set",
    "fields": "type or of other layers",
    "format": "version of kdzoo",
    "precision": "precision of the teacher",
    "probe": "teacher",
}


def with_recorded_teacher(
    data: Split,
    directory: PathLike,
    teacher: keras.Model | None = None,
    teacher_transform: Callable[[np.ndarray], Any] | None = None,
) -> "RecordedSplit":
    """Joins a split and the record of a teacher's outputs for it.

    Args:
        data: The `kdzoo.data.Split` that was recorded.
        directory: What `record_teacher` wrote.
        teacher: The teacher, to make sure that the record is of it, in whatever precision it
            computes; not looked at when None.
        teacher_transform: What it was recorded with, if anything; looked at with the teacher.

    Returns:
        A `RecordedSplit`, whose `batches` carry the outputs, for a `Distiller` with `teacher=None`.

    Raises:
        FileNotFoundError: If there is no record.
        ValueError: If it is not complete, damaged, or of another data set or teacher.
    """
    check_split(data)
    path = check_path("directory", directory)
    try:
        check_regular(path / INDEX)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"Expected the record of a teacher in {path}. Received: none there; "
            "`record_teacher` writes one."
        ) from None
    index = read_index(path / INDEX)
    if not index["complete"]:
        raise ValueError(
            f"Expected a complete record. Received: {path}, which was broken off; call "
            f"`record_teacher` again, for {index['views']} views, which goes on with it."
        )
    checks = {"data": fingerprint_of_data(data)}
    if teacher is not None:
        check_teacher(teacher)
        checks["teacher"] = fingerprint_of_model(teacher)
    others = [name for name, value in checks.items() if index[name] != value]
    if teacher is not None and not others:
        probe = TeacherPredictor(teacher, transform=teacher_transform).probe(data)
        others = [] if is_alike(index["probe"], probe) else ["probe"]
    if others:
        raise ValueError(
            f"Expected the record of this {WORDS.get(others[0], others[0])}. Received: "
            f"{path}, a record of another one."
        )
    if index["examples"] != len(data):
        raise ValueError(
            f"Expected the record of {len(data)} samples. Received: {path / INDEX}, of "
            f"{index['examples']}; record into another directory."
        )
    _check_augmentation(path / INDEX, index["augmentation"], data.input_shape)
    for name, shard in index["shards"].items():
        check_shard(path / name, shard, record_type(index["fields"]))
    record = Record(path, index)
    record.check()
    return RecordedSplit(data, record)


def _check_augmentation(path, given, input_shape):
    """Raises if images of a record moved out of themselves, for which memory would be taken."""
    for name in ("shift", "cutout"):
        if given is not None and given[name] > 2 * max(input_shape[:2]):
            raise ValueError(
                f"Expected an augmentation of images of {input_shape} in {path}. Received: "
                f"{name}={given[name]}; record into another directory."
            )


def check_split(data: Any) -> None:
    """Raises unless this is a `Split`."""
    if not isinstance(data, Split):
        raise ValueError(
            "Expected one split of a data set, e.g. `data.train`. Received: data of type "
            f"{type(data).__name__}"
        )


class RecordedSplit:
    """A split whose batches carry a teacher's outputs; `with_recorded_teacher` makes it.

    Args:
        split: The `kdzoo.data.Split`.
        record: What was recorded.
    """

    def __init__(self, split: Split, record: "Record"):
        self.split, self._record = split, record

    def __len__(self) -> int:
        return len(self.split)

    def __repr__(self) -> str:
        return f"<{self.split!r} with {self.views} recorded views>"

    @property
    def views(self) -> int:
        """How many times each image was recorded; epochs take the views in turn."""
        return self._record.views

    def with_labels_of(self, split: Split) -> "RecordedSplit":
        """Returns the same images and outputs with the labels of another split of these images.

        Args:
            split: The same samples in the same order.

        Raises:
            ValueError: If it has another number of samples.
        """
        if len(split) != len(self):
            raise ValueError(
                f"Expected a split of the {len(self)} samples that were recorded. Received: "
                f"{len(split)} samples"
            )
        return RecordedSplit(split, self._record)

    def batches(
        self,
        batch_size: int = 128,
        shuffle: bool = False,
        seed: int = 0,
        initial_epoch: int = 0,
        drop_remainder: bool = False,
        indices: bool = False,
        layers: str | Iterable[str] | None = None,
    ) -> "tf.data.Dataset | Batches":
        """Returns batches (images, `{"label": labels, "teacher": outputs}`) to give to `fit`.

        Epoch e sees view e modulo `views`: its images augmented as the teacher saw them.

        Args:
            batch_size: Number of images in a batch, at least 1.
            shuffle: Whether every epoch has a random order of its own.
            seed: Integer of at least 0 that decides the order.
            initial_epoch: Number of the first epoch, at least 0.
            drop_remainder: Whether the last batch is left out when it is not full.
            indices: Whether each sample's position comes along, under `"index"`.
            layers: Paths of the recorded layers that come with the logits, a list or one path; all
                when None.

        Returns:
            Images float32 (batch, height, width, channels) in [0, 1], labels int32 (batch,), and
            as outputs the logits, (batch, classes) in the type of the record, or `{"logits":
            logits, "<layer>": features}` where layers come with them: a `tf.data.Dataset` on the
            TensorFlow backend, a `keras.utils.PyDataset` of NumPy arrays on others.

        Raises:
            ValueError: If a layer was not recorded, or an argument is not as described.
        """
        return self.split.batches(
            batch_size,
            shuffle,
            augmentation=None,
            seed=seed,
            initial_epoch=initial_epoch,
            drop_remainder=drop_remainder,
            indices=indices,
            teacher_outputs=self._record.of_layers(layers),
        )


class Record(TeacherOutputs):
    """The outputs in a directory, by epoch and sample.

    Args:
        directory: The record's.
        index: Its index.
    """

    def __init__(self, directory: pathlib.Path, index: dict[str, Any]):
        self.directory, self.views, self.seed = directory, index["views"], index["seed"]
        self.top_k, self.examples, self.classes = (
            index[name] for name in ("top_k", "examples", "classes")
        )
        self.type = record_type(index["fields"])
        self.layers = [name for name in self.type.names or () if name not in (LOGITS, *OF_TOP_K)]
        given = index["augmentation"]
        self._augmentation = None if given is None else Augmentation(**given)
        self._shards: list[list] = [[] for _ in range(self.views)]
        for name, shard in index["shards"].items():
            self._shards[shard["view"]].append((shard["start"], directory / name, shard))
        self._readers: dict[pathlib.Path, Any] = {}
        self._kept: tuple[int, np.ndarray] | None = None

    def __len__(self) -> int:
        return self.examples

    def check(self) -> None:
        """Raises `ValueError` if a file does not hold what the index says of it.

        Its error is one sentence here; in the middle of an epoch TensorFlow makes a page of it.
        """
        for shards in self._shards:
            for _, path, shard in shards:
                self._read(path, shard)

    def images(self, images: np.ndarray, indices: np.ndarray, epoch: int) -> np.ndarray:
        if self._augmentation is None:
            return images
        return self._augmentation(images, indices, self.seed, epoch % self.views)

    def at(self, indices: np.ndarray, epoch: int) -> Outputs:
        records = self._records(np.asarray(indices), epoch % self.views)
        logits = logits_of(records, self.classes)
        tapped = {name: records[name] for name in self.layers}
        return {LOGITS: logits, **tapped} if tapped else logits

    def spec(self) -> Spec | dict[str, Spec]:
        logits = (self.classes,), self.type[LOGITS if self.top_k is None else OF_TOP_K[0]].base
        tapped = {name: (self.type[name].shape, self.type[name].base) for name in self.layers}
        return {LOGITS: logits, **tapped} if tapped else logits

    def of_layers(self, layers: str | Iterable[str] | None) -> "Record":
        """Returns the record with some of its layers alone.

        Args:
            layers: Their paths, or one path; None for all.

        Raises:
            ValueError: If a layer was not recorded.
        """
        if layers is None:
            return self
        found = copy.copy(self)
        found.layers = [
            check_choice("recorded layer", path, self.layers) for path in check_paths(layers)
        ]
        return found

    def _records(self, indices, view):
        if self.type.itemsize <= SMALL_RECORD:
            kept = self._kept  # Another thread may replace it by another view's.
            if kept is None or kept[0] != view:
                shards = sorted(self._shards[view], key=lambda shard: shard[0])
                parts = [self._read(path, shard) for _, path, shard in shards]
                self._kept = kept = view, np.concatenate(parts)
            return kept[1][indices]
        found = np.empty(len(indices), self.type)
        for start, path, shard in self._shards[view]:
            here = np.flatnonzero((indices >= start) & (indices < shard["stop"]))
            if here.size:
                found[here] = self._read(path, shard, (indices[here] - start).tolist())
        return found

    def _read(self, path, shard, places=None):
        """The records of a file, all of them or those at some places."""
        readers = None if places is None else self._readers
        records = read_shard(path, shard, self.type, places, readers)
        if self.top_k is not None:
            classes = records[PLACES]
            if classes.min() < 0 or classes.max() >= self.classes:
                raise ValueError(
                    f"Expected classes from 0 to {self.classes - 1} in {path}. Received: others; "
                    "record into another directory."
                )
        return records
