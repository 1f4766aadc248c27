"""The outputs of a teacher that were recorded, joined with the images that they are for."""

import typing
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras
import numpy as np

from kdzoo.data.split import Split
from kdzoo.models.ensemble import Ensemble
from kdzoo.teacher_cache.averaged_records import AVERAGES, Average, AveragedRecords
from kdzoo.teacher_cache.fingerprints import fingerprint_of_data, fingerprint_of_model, is_alike
from kdzoo.teacher_cache.record import Record
from kdzoo.teacher_cache.record_index import INDEX, read_index
from kdzoo.teacher_cache.record_layout import record_type
from kdzoo.teacher_cache.record_shards import check_shard
from kdzoo.teacher_cache.teacher_predictor import TeacherPredictor, check_teacher
from kdzoo.utils import check_choice, check_path, check_regular, shown
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
    directory: PathLike | Sequence[PathLike],
    teacher: keras.Model | Sequence[keras.Model] | None = None,
    teacher_transform: Callable[[np.ndarray], Any] | None = None,
    *,
    average: Average = "logits",
) -> "RecordedSplit":
    """Joins a split and the record of a teacher's outputs for it, or those of several teachers.

    Several are recorded one after another, so that an ensemble of ten takes no more memory than one
    teacher; their outputs are averaged as they are read.

    Args:
        data: The `kdzoo.data.Split` that was recorded.
        directory: What `record_teacher` wrote; or a list of such directories, of teachers whose
            logits were recorded for the same views of the images.
        teacher: The teacher, to make sure that the record is of it, in whatever precision it
            computes; not looked at when None. Beside a list of directories, as many teachers, or a
            `kdzoo.Ensemble` of them.
        teacher_transform: What it was recorded with, if anything; looked at with the teacher.
        average: How several are averaged: `"logits"` for the mean of the logits, which is the
            geometric mean of the distributions, or `"probabilities"` for the logarithm of the mean
            of the softmaxes, the arithmetic mean.

    Returns:
        A `RecordedSplit`, whose `batches` carry the outputs, for a `Distiller` with `teacher=None`.

    Raises:
        FileNotFoundError: If there is no record.
        ValueError: If it is not complete, damaged, or of another data set or teacher; if several
            records differ in views, augmentation or classes, or hold outputs of layers.

    Example:

    ```python
    for number, member in enumerate(members):
        record_teacher(member, data.train, f"member-{number}", views=30, augmentation="default")
    directories = [f"member-{number}" for number in range(len(members))]
    recorded = with_recorded_teacher(data.train, directories, average="probabilities")
    ```
    """
    check_split(data)
    check_choice("average", average, AVERAGES)
    if not isinstance(directory, list | tuple):
        return RecordedSplit(data, _read_record(data, directory, teacher, teacher_transform))
    teachers = teacher.members if isinstance(teacher, Ensemble) else teacher
    if teachers is None:
        teachers = [None] * len(directory)
    if not directory or not isinstance(teachers, list | tuple) or len(teachers) != len(directory):
        raise ValueError(
            "Expected one or more directories, and as many teachers or none. Received: "
            f"directory={shown(directory)}, teacher={shown(teacher)}"
        )
    records = [
        _read_record(data, path, its_teacher, teacher_transform)
        for path, its_teacher in zip(directory, teachers, strict=True)
    ]
    return RecordedSplit(data, AveragedRecords(records, average))


def _read_record(
    data: Split,
    directory: Any,
    teacher: Any,
    teacher_transform: Callable[[np.ndarray], Any] | None,
) -> Record:
    """The record in a directory, if it is one of these data and of this teacher."""
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
    return record


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

    def __init__(self, split: Split, record: Record | AveragedRecords):
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
