"""The answers of a teacher that was recorded, joined with the images that it was asked about."""

import copy
import hashlib

import numpy as np

from kdzoo.data.augmentation import Augmentation
from kdzoo.data.dataset import Split
from kdzoo.teacher_cache.predict import (
    LOGITS,
    Asking,
    check_teacher,
    checked_paths,
    fingerprint_of_model,
    is_alike,
)
from kdzoo.teacher_cache.record_index import INDEX, OF_TOP_K, PLACES, read_index, record_type
from kdzoo.teacher_cache.shards import check_shard, read_shard
from kdzoo.utils import check_path, check_regular, unknown_name

SMALL_RECORD = 1 << 10
"""Records of fewer bytes share blocks in their files, and are read a view at a time."""

WORDS = {
    "examples_a_shard": "version of kdzoo",
    "data": "data set",
    "fields": "kind or of other layers",
    "format": "version of kdzoo",
    "precision": "precision of the teacher",
    "probe": "teacher",
}


def with_recorded_teacher(data, directory, teacher=None, teacher_transform=None):
    """Joins a split and the record of a teacher's answers to it.

    Args:
        data: The `kdzoo.data.Split` that was recorded.
        directory: What `record_teacher` wrote.
        teacher: The teacher, to make sure that the record is of it, in whatever precision it
            computes; not looked at when None.
        teacher_transform: What it was recorded with, if anything; looked at with the teacher.

    Returns:
        A `RecordedSplit`, whose `batches` carry the answers, for a `Distiller` with `teacher=None`.

    Raises:
        FileNotFoundError: If there is no record.
        ValueError: If it is not complete, damaged, or of another data set or teacher.
    """
    check_split(data)
    directory = check_path("directory", directory)
    try:
        check_regular(directory / INDEX)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"Expected the record of a teacher in {directory}. Received: none there; "
            "`record_teacher` writes one."
        ) from None
    index = read_index(directory / INDEX)
    if not index["complete"]:
        raise ValueError(
            f"Expected a complete record. Received: {directory}, which was broken off; call "
            f"`record_teacher` again, for {index['views']} views, which goes on with it."
        )
    checks = {"data": fingerprint_of_data(data)}
    if teacher is not None:
        check_teacher(teacher)
        checks["teacher"] = fingerprint_of_model(teacher)
    others = [name for name, value in checks.items() if index[name] != value]
    if teacher is not None and not others:
        probe = Asking(teacher, transform=teacher_transform).probe(data)
        others = [] if is_alike(index["probe"], probe) else ["probe"]
    if others:
        raise ValueError(
            f"Expected the record of this {WORDS.get(others[0], others[0])}. Received: "
            f"{directory}, a record of another one."
        )
    if index["examples"] != len(data):
        raise ValueError(
            f"Expected the record of {len(data)} examples. Received: {directory / INDEX}, of "
            f"{index['examples']}; record into another directory."
        )
    _check_augmentation(directory / INDEX, index["augmentation"], data.input_shape)
    for name, shard in index["shards"].items():
        check_shard(directory / name, shard, record_type(index["fields"]))
    record = Record(directory, index)
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


def check_split(data):
    """Raises unless this is a `Split`."""
    if not isinstance(data, Split):
        raise ValueError(
            "Expected one split of a data set, e.g. `data.train`. Received: data of type "
            f"{type(data).__name__}"
        )


class RecordedSplit:
    """A split whose batches carry a teacher's answers; `with_recorded_teacher` makes it.

    Args:
        split: The `kdzoo.data.Split`.
        record: What was recorded.
    """

    def __init__(self, split, record):
        self.split, self._record = split, record

    def __len__(self):
        return len(self.split)

    def __repr__(self):
        return f"<{self.split!r} with {self.views} recorded views>"

    @property
    def views(self):
        """How many times each image was recorded; epochs take the views in turn."""
        return self._record.views

    def batches(
        self,
        batch_size=128,
        shuffle=False,
        seed=0,
        initial_epoch=0,
        drop_remainder=False,
        indices=False,
        layers=None,
    ):
        """Returns batches (images, `{"label": labels, "teacher": answers}`) to give to `fit`.

        Epoch e sees view e modulo `views`: its images augmented as the teacher saw them.
        Arguments are those of `Split.batches`, except that `seed` decides nothing but the order.

        Args:
            batch_size: Images in a batch.
            shuffle: Whether each epoch has another order.
            seed: Of the order.
            initial_epoch: The number of the first epoch.
            drop_remainder: Whether a last batch of fewer images is left out.
            indices: Whether each example's position comes along, under `"index"`.
            layers: Paths of the recorded layers that come with the logits, a list or one path; all
                when None.

        Returns:
            As `Split.batches`: images float32 (batch, height, width, channels), labels int32
            (batch,), and as answers the logits, (batch, classes) in the type of the record, or
            `{"logits": logits, "<layer>": features}` where layers come with them.

        Raises:
            ValueError: If a layer was not recorded, or as in `Split.batches`.
        """
        return self.split.batches(
            batch_size,
            shuffle,
            augmentation=None,
            seed=seed,
            initial_epoch=initial_epoch,
            drop_remainder=drop_remainder,
            indices=indices,
            answers=self._record.of_layers(layers),
        )


class Record:
    """The answers in a directory, by epoch and example.

    Args:
        directory: The record's.
        index: Its index.
    """

    def __init__(self, directory, index):
        self.directory, self.views, self.seed = directory, index["views"], index["seed"]
        self.top_k, self.examples, self.classes = (
            index[name] for name in ("top_k", "examples", "classes")
        )
        self.type = record_type(index["fields"])
        self.layers = [name for name in self.type.names if name not in (LOGITS, *OF_TOP_K)]
        given = index["augmentation"]
        self._augmentation = None if given is None else Augmentation(**given)
        self._shards = [[] for _ in range(self.views)]
        for name, shard in index["shards"].items():
            self._shards[shard["view"]].append((shard["start"], directory / name, shard))
        self._readers, self._kept = {}, (None, None)

    def __len__(self):
        return self.examples

    def check(self):
        """Raises `ValueError` if a file does not hold what the index says of it.

        Its error is one sentence here; in the middle of an epoch TensorFlow makes a page of it.
        """
        for shards in self._shards:
            for _, path, shard in shards:
                self._read(path, shard)

    def images(self, images, indices, epoch):
        """Returns the images of an epoch as the teacher saw them."""
        if self._augmentation is None:
            return images
        return self._augmentation(images, indices, self.seed, epoch % self.views)

    def at(self, indices, epoch):
        """Returns the teacher's answers of an epoch to some examples."""
        records = self._records(np.asarray(indices), epoch % self.views)
        if self.top_k is None:
            logits = records[LOGITS]
        else:
            logits = _filled(*(records[name] for name in OF_TOP_K), self.classes)
        tapped = {name: records[name] for name in self.layers}
        return {LOGITS: logits, **tapped} if tapped else logits

    def spec(self):
        """Returns the structure of an answer with (shape of one example, type) for an array."""
        logits = (self.classes,), self.type[LOGITS if self.top_k is None else OF_TOP_K[0]].base
        tapped = {name: (self.type[name].shape, self.type[name].base) for name in self.layers}
        return {LOGITS: logits, **tapped} if tapped else logits

    def of_layers(self, layers):
        """Returns the record with some of its layers alone; all of them when None."""
        if layers is None:
            return self
        layers = checked_paths(layers)
        for layer in layers:
            if layer not in self.layers:
                raise unknown_name("recorded layer", layer, self.layers)
        found = copy.copy(self)
        found.layers = layers
        return found

    def _records(self, indices, view):
        if self.type.itemsize <= SMALL_RECORD:
            kept, records = self._kept  # Another thread may replace it by another view's.
            if kept != view:
                shards = sorted(self._shards[view], key=lambda shard: shard[0])
                parts = [self._read(path, shard) for _, path, shard in shards]
                records = np.concatenate(parts)
                self._kept = view, records
            return records[indices]
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


def _filled(largest, places, rest, classes):
    """Logits of all classes from the largest and what each of the others is given."""
    logits = np.repeat(rest, classes, axis=-1)
    np.put_along_axis(logits, places, largest, axis=-1)
    return logits


def fingerprint_of_data(split):
    """Returns the SHA-256 of a split's images and labels, in their order."""
    found = hashlib.sha256()
    for start in range(0, len(split), 1000):
        images, labels = split.examples(np.arange(start, min(start + 1000, len(split))))
        found.update(repr((images.shape, str(images.dtype), split.scale)).encode())
        found.update(np.ascontiguousarray(images).tobytes())
        found.update(np.ascontiguousarray(labels, "int32").tobytes())
    return found.hexdigest()
