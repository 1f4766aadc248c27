"""Computing a teacher's outputs once per augmented view, and keeping them for many students."""

import dataclasses
import json
import os
import pathlib
from collections.abc import Callable, Iterable
from typing import Any, Literal

import keras
import numpy as np

from kdzoo.data.augmentation import Augmentation
from kdzoo.data.catalog import resolve_augmentation
from kdzoo.data.split import Split
from kdzoo.graph.outputs import OutputType
from kdzoo.graph.taps import find_layer
from kdzoo.teacher_cache.fingerprints import (
    fingerprint_of_data,
    fingerprint_of_model,
    is_alike,
    precision_of_model,
)
from kdzoo.teacher_cache.record_index import FORMAT, INDEX, MOST_BYTES, read_index, shard_name
from kdzoo.teacher_cache.record_layout import (
    fields_of,
    pack,
    record_type,
)
from kdzoo.teacher_cache.record_shards import is_whole, samples_a_shard, write_shard
from kdzoo.teacher_cache.recorded_split import WORDS, check_split
from kdzoo.teacher_cache.teacher_predictor import (
    LOGITS,
    TeacherPredictor,
    check_image_shape,
    check_output_type,
    check_paths,
    check_teacher,
)
from kdzoo.teacher_cache.top_k_logits import OF_TOP_K
from kdzoo.utils import (
    check_choice,
    check_directory,
    check_integer,
    check_positive_integer,
    digest_of_file,
    one_process,
    read_bytes,
    shown,
    sweep,
    write_bytes,
)
from kdzoo.utils.hashed_json import hashed_json
from kdzoo.utils.types import PathLike

_MOST_VIEWS = 9999  # As files number them in four digits.


def record_teacher(
    teacher: keras.Model,
    data: Split,
    directory: PathLike,
    views: int = 1,
    top_k: int | None = None,
    layers: str | Iterable[str] | None = (),
    augmentation: Augmentation | Literal["default"] | None = None,
    seed: int = 0,
    dtype: Literal["float16", "float32"] = "float16",
    batch_size: int = 500,
    teacher_transform: Callable[[np.ndarray], Any] | None = None,
    *,
    output_type: OutputType | None = None,
) -> pathlib.Path:
    """Computes a teacher's outputs for every image, as often as there are views, and keeps them.

    `with_recorded_teacher` then trains students on them. The same call continues a record that was
    broken off, from the file that it was at, which holds a view or about 64 MB of one. A call for
    more views adds them to a record of fewer, which is not complete until then. A record that is
    complete is left alone. One process writes a record at a time. A teacher is recognized by its
    weights, by the precision that its layers compute in, and by its logits for four images, up to
    2 % of the largest.

    Args:
        teacher: A `keras.Model` that gives logits (batch, classes), or (batch, labels) of
            independent binary labels, or plain numbers (batch, numbers).
        data: A `kdzoo.data.Split`, usually `dataset.train`.
        directory: Where the record goes: an index and ArrayRecord files with checksums.
        views: How many times each image is seen, each time augmented anew, from 1 to 9999; 1
            without augmentation.
        top_k: Number of the largest logits that are kept for each image, at least 1; None for all.
            The other classes get one logit each, such that softmax at temperature 1 gives them
            together the probability that they had.
        layers: Paths of the teacher's layers whose outputs are kept too, for losses that tap them;
            a list, or one path.
        augmentation: An `Augmentation`, but none of a subclass, which a record could not name;
            "default" for the usual one of the data set, or None.
        seed: Integer that decides the augmentation.
        dtype: `"float16"` or `"float32"`, the type in which outputs are kept.
        batch_size: How many images go through the teacher at a time, at least 1.
        teacher_transform: Function from a batch of images, float32 (batch, height, width, channels)
            in [0, 1], to as many inputs of the teacher.
        output_type: `"classes"`, `"binary"` for binary labels with a sigmoid each, or
            `"numbers"`, for a teacher that may end in any activation; `None` to find out.

    Returns:
        The directory, a `pathlib.Path`.

    Raises:
        ValueError: If an argument is out of range, a layer is not there or bears one of the names
            under which outputs are kept, such as "logits", the teacher gives probabilities (unless
            they are said to be numbers) or takes images of another shape, the largest of outputs
            that are not classes are to be kept, an output is too large for its type, the directory
            is a file or holds a record of another teacher, data set, augmentation or type or of
            more views, or another process writes there.

    Example:

    ```python
    record_teacher(teacher, data.train, "teacher", views=30, augmentation="default")
    batches = with_recorded_teacher(data.train, "teacher").batches(128, shuffle=True)
    distiller = kdzoo.Distiller(None, student, kdzoo.losses.SoftTargets(4.0))
    ```
    """
    check_split(data)
    path = check_directory(directory)
    views = check_positive_integer("views", views, _MOST_VIEWS)
    batch_size = check_positive_integer("batch_size", batch_size)
    top_k = None if top_k is None else check_positive_integer("top_k", top_k)
    check_teacher(teacher)
    output_type = check_output_type(teacher, output_type, top_k)
    if teacher_transform is None:
        check_image_shape(teacher, data)
    seed, paths = check_integer("seed", seed), _check_layers(teacher, layers)
    augment = _check_augmentation(resolve_augmentation(augmentation, data.name), views)
    check_choice("dtype", dtype, ("float16", "float32"))
    predict = TeacherPredictor(teacher, paths, teacher_transform)
    first = predict(data, np.arange(1))
    fields = fields_of(first, top_k, dtype)
    settings = {
        "format": FORMAT,
        "teacher": fingerprint_of_model(teacher),
        "precision": precision_of_model(teacher),
        "data": fingerprint_of_data(data),
        "examples": len(data),
        "augmentation": None if augment is None else dataclasses.asdict(augment),
        "seed": seed,
        "views": views,
        "top_k": top_k,
        "classes": first[LOGITS].shape[-1],
        "fields": [[name, list(shape), of_field] for name, shape, of_field in fields],
        "examples_a_shard": samples_a_shard(fields),
        "probe": predict.probe(data, output_type),
    }

    def records(view, start, stop):
        parts = []
        for at in range(start, stop, batch_size):
            indices = np.arange(at, min(at + batch_size, stop))
            parts.append(pack(predict(data, indices, augment, seed, view), fields, top_k))
        return np.concatenate(parts)

    sweep(path)  # What a killed process left, also of a record that it had completed.
    if _Index(path, settings).is_complete:
        return path
    with one_process(path):
        _write_missing(_Index(path, settings), records)
    return path


def _write_missing(index, records):
    """Writes the shards that a record lacks.

    Args:
        index: The `_Index`.
        records: Function of a view and the first and last sample, exclusive, to their records.
    """
    samples, size = index.settings["examples"], index.settings["examples_a_shard"]
    for view in range(index.settings["views"]):
        for start in range(0, samples, size):
            name = shard_name(view, start)
            if name in index.shards:
                continue
            stop, path = min(start + size, samples), index.directory / name
            write_shard(path, records(view, start, stop))
            shard = {"view": view, "start": start, "stop": stop, "sha256": digest_of_file(path)}
            index.shards[name] = shard
            index.write(complete=False)
    index.write(complete=True)


def _check_layers(teacher, layers):
    """Returns the paths of layers as a list, each of them once."""
    paths = [] if layers is None else check_paths(layers)
    for path in paths:
        if path in (LOGITS, *OF_TOP_K):
            raise ValueError(
                f"Expected layers besides {path!r}, a name under which the teacher's outputs are "
                f"kept themselves. Received: layers={shown(layers)}; leave it out, or rename that "
                "layer."
            )
        find_layer(teacher, path)
    return paths


def _check_augmentation(augmentation, views):
    """Returns an augmentation, or None, that a record of so many views can be of."""
    if augmentation is not None and type(augmentation) is not Augmentation:
        raise ValueError(
            "Expected an Augmentation of kdzoo's own class, which a record can name. Received: "
            f"augmentation={shown(augmentation)}"
        )
    if augmentation is None and views > 1:
        raise ValueError(
            "Expected one view of images that are not augmented, because all views would be the "
            f"same. Received: views={views}, augmentation=None"
        )
    return augmentation


class _Index:
    """The index of a record that is being made: its settings and the shards that are finished.

    Args:
        directory: The record's.
        settings: What it is a record of.

    Raises:
        ValueError: If the directory holds another record.
    """

    def __init__(self, directory, settings):
        self.directory, self.settings = directory, settings
        self.shards, self.is_complete = {}, False
        self._written = self._read()
        if self._written is not None:
            found = read_index(directory / INDEX)
            self._check_same(found)
            shards, record = found["shards"], record_type(found["fields"])
            self.shards = {
                name: shard
                for name, shard in shards.items()
                if is_whole(directory / name, shard, record)
            }
            self.is_complete = found["complete"] and len(self.shards) == len(shards)
            self.is_complete &= found["views"] == settings["views"]

    def write(self, complete):
        """Writes the index whole or not at all, unless another process has written it since."""
        if self._read() != self._written:
            raise ValueError(
                f"Expected no other process to record into {self.directory}. Received: an index "
                "that another one wrote; wait until it has finished, and call again."
            )
        content = {**self.settings, "complete": complete, "shards": self.shards}
        self._written = hashed_json(content)
        write_bytes(self.directory / INDEX, self._written)

    def _read(self):
        path = self.directory / INDEX
        return read_bytes(path, MOST_BYTES) if os.path.lexists(path) else None

    def _check_same(self, found):
        for name, value in json.loads(json.dumps(self.settings)).items():
            if name == "probe":
                same = is_alike(found[name], value)
            elif name == "views":  # Those that are missing can be added.
                same = found[name] <= value
            else:
                same = found[name] == value
            if not same:
                what = f"another {WORDS.get(name, name)}"
                what = f"{found[name]} views; record as many" if name == "views" else what
                raise ValueError(
                    "Expected a new directory, or the record of this teacher. Received: "
                    f"{self.directory}, a record of {what}"
                )
