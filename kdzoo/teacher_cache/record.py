"""The record of one teacher, read from its files by epoch and sample."""

import copy
import pathlib
from collections.abc import Iterable
from typing import Any

import numpy as np

from kdzoo.data.augmentation import Augmentation
from kdzoo.data.teacher_outputs_base import Outputs, Spec, TeacherOutputs
from kdzoo.teacher_cache.record_layout import record_type
from kdzoo.teacher_cache.record_shards import SMALL_RECORD, read_shard
from kdzoo.teacher_cache.teacher_predictor import LOGITS, check_paths
from kdzoo.teacher_cache.top_k_logits import OF_TOP_K, PLACES, logits_of
from kdzoo.utils import check_choice


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
        self.described = self.views, self.seed, self.classes, self._augmentation
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
