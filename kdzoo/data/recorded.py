"""The answers of a teacher that was recorded, joined with the images that it was asked about."""

import copy
import hashlib
import json

import numpy as np

from kdzoo.data.asking import (
    LOGITS,
    Asking,
    check_teacher,
    checked_paths,
    fingerprint_of_model,
    is_alike,
)
from kdzoo.data.augmentation import Augmentation
from kdzoo.data.dataset import Split
from kdzoo.utils import as_path, digest_of_file, read_object, unknown_name

FORMAT = 2
INDEX = "index.json"
LARGEST, PLACES, REST = _OF_TOP_K = "largest_logits", "largest_classes", "rest"
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
    directory = as_path("directory", directory)
    if not (directory / INDEX).is_file():
        raise FileNotFoundError(
            f"Expected the record of a teacher in {directory}. Received: none there; "
            "`record_teacher` writes one."
        )
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
    for name, shard in index["shards"].items():
        path = directory / name
        if not path.is_file() or digest_of_file(path) != shard["sha256"]:
            raise ValueError(
                f"Expected the files of a record as they were written. Received: {path}, which is "
                "missing or altered; call `record_teacher` again, which asks for what it held anew."
            )
    return RecordedSplit(data, Record(directory, index))


def check_split(data):
    """Raises unless this is a `Split`."""
    if not isinstance(data, Split):
        raise ValueError(
            "Expected one split of a data set, e.g. `data.train`. Received: data of type "
            f"{type(data).__name__}"
        )


def read_index(path):
    """Returns the index of a record, a dictionary.

    Args:
        path: The index's path.

    Raises:
        ValueError: If it is damaged, or of another version of kdzoo.
    """
    expected = "the index of a record; if it is none, record into another directory"
    index = read_object(path, expected)
    found, whole = index.get("format"), index.pop("sha256", None)
    if found is None:
        raise ValueError(
            f"Expected {path} to be {expected}. Received: a JSON file without a format"
        )
    if found != FORMAT:
        raise ValueError(
            f"Expected a record in format {FORMAT}. Received: {path.parent} in format {found!r}; "
            "record again, or take the kdzoo that wrote it."
        )
    if whole != checksum(index):
        raise ValueError(
            f"Expected {path} as it was written. Received: one that was altered; record into "
            "another directory."
        )
    return index


def checksum(index):
    """Returns the SHA-256 of an index without its own checksum."""
    return hashlib.sha256(json.dumps(index, sort_keys=True).encode()).hexdigest()


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
        self.layers = [name for name in self.type.names if name not in (LOGITS, *_OF_TOP_K)]
        given = index["augmentation"]
        self._augmentation = None if given is None else Augmentation(**given)
        self._shards = [[] for _ in range(self.views)]
        for name, shard in index["shards"].items():
            self._shards[shard["view"]].append((shard["start"], shard["stop"], name))
        self._readers, self._kept = {}, (None, None)

    def __len__(self):
        return self.examples

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
            logits = _filled(*(records[name] for name in _OF_TOP_K), self.classes)
        tapped = {name: records[name] for name in self.layers}
        return {LOGITS: logits, **tapped} if tapped else logits

    def spec(self):
        """Returns the structure of an answer with (shape of one example, type) for an array."""
        logits = (self.classes,), self.type[LOGITS if self.top_k is None else LARGEST].base
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
                parts = [self._read(name) for _, _, name in sorted(self._shards[view])]
                records = np.concatenate(parts)
                self._kept = view, records
            return records[indices]
        found = np.empty(len(indices), self.type)
        for start, stop, name in self._shards[view]:
            here = np.flatnonzero((indices >= start) & (indices < stop))
            if here.size:
                found[here] = self._read(name, (indices[here] - start).tolist())
        return found

    def _read(self, name, places=None):
        """The records of a file, all of them or those at some places."""
        from array_record.python import array_record_module

        if places is None:
            reader = array_record_module.ArrayRecordReader(str(self.directory / name))
            parts = reader.read_all()
            reader.close()
        else:
            if name not in self._readers:
                reader = array_record_module.ArrayRecordReader(str(self.directory / name))
                self._readers[name] = reader
            parts = self._readers[name].read(places)
        return np.frombuffer(b"".join(parts), self.type)


def _filled(largest, places, rest, classes):
    """Logits of all classes from the largest and what each of the others is given."""
    logits = np.repeat(rest, classes, axis=-1)
    np.put_along_axis(logits, places, largest, axis=-1)
    return logits


def record_type(fields):
    """Returns the NumPy type of a record.

    Args:
        fields: List of (name, shape of one example, type).
    """
    return np.dtype([(name, kind, tuple(shape)) for name, shape, kind in fields])


def fingerprint_of_data(split):
    """Returns the SHA-256 of a split's images and labels, in their order."""
    found = hashlib.sha256()
    for start in range(0, len(split), 1000):
        images, labels = split.examples(np.arange(start, min(start + 1000, len(split))))
        found.update(repr((images.shape, str(images.dtype), split.scale)).encode())
        found.update(np.ascontiguousarray(images).tobytes())
        found.update(np.ascontiguousarray(labels, "int32").tobytes())
    return found.hexdigest()
