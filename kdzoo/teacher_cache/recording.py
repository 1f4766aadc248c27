"""Asking a teacher once per augmented view, and keeping its answers for many students."""

import dataclasses
import json
import os

import numpy as np

from kdzoo.data import augmentation as augmentations
from kdzoo.teacher_cache.predict import (
    LOGITS,
    Asking,
    check_images,
    check_teacher,
    checked_paths,
    fingerprint_of_model,
    is_alike,
    precision_of_model,
)
from kdzoo.teacher_cache.reading import SMALL_RECORD, WORDS, check_split, fingerprint_of_data
from kdzoo.teacher_cache.record_index import (
    FORMAT,
    INDEX,
    LARGEST,
    MOST_BYTES,
    PLACES,
    REST,
    read_index,
    record_type,
    shard_name,
)
from kdzoo.teacher_cache.shards import is_whole
from kdzoo.utils import (
    atomic_path,
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

_MOST_VIEWS = 9999  # As files number them in four digits.


def record_teacher(
    teacher,
    data,
    directory,
    views=1,
    top_k=None,
    layers=(),
    augmentation=None,
    seed=0,
    dtype="float16",
    batch_size=500,
    teacher_transform=None,
):
    """Asks a teacher about every image, as often as there are views, and keeps the answers.

    `with_recorded_teacher` then trains students on them. A record that was broken off is gone on
    with by the same call, from the file that it was at, which holds a view or about 64 MB of one;
    and one of fewer views by a call for more, until the end of which it is not complete. One that
    is complete is left alone. One process writes a record at a time. A teacher is known again by
    its weights, by the precision that its layers compute in, and by its logits of four images, but
    for 2 % of the largest.

    Args:
        teacher: A `keras.Model` that gives logits (batch, classes).
        data: A `kdzoo.data.Split`, usually `dataset.train`.
        directory: Where the record goes: an index and ArrayRecord files with checksums.
        views: How many times each image is seen, each time augmented anew; 1 without augmentation.
        top_k: Number of the largest logits that are kept of each answer; None for all. The rest
            share what probability is left of them equally, which softmax at temperature 1 does not
            notice in the sum.
        layers: Paths of the teacher's layers whose outputs are kept too, for losses that tap them;
            a list, or one path.
        augmentation: An `Augmentation`, but none of a subclass, which a record could not name;
            "default" for the usual one of the data set, or None.
        seed: Of the augmentation.
        dtype: `"float16"` or `"float32"`, what answers are kept in.
        batch_size: How many images the teacher is asked about at a time.
        teacher_transform: From a batch of images, float32 (batch, height, width, channels) in
            [0, 1], to as many of what the teacher takes, as in a `Distiller`.

    Returns:
        The directory, a `pathlib.Path`.

    Raises:
        ValueError: If an argument is out of range, a layer is not there or bears one of the names
            that answers are kept under, such as "logits", the teacher gives probabilities or takes
            images of another shape, an answer is too large for its type, the directory is a file,
            holds a record of another teacher, data set, augmentation or kind or of more views, or
            another process writes there.

    Example:

    ```python
    record_teacher(teacher, data.train, "teacher", views=30, augmentation="default")
    batches = with_recorded_teacher(data.train, "teacher").batches(128, shuffle=True)
    distiller = kdzoo.Distiller(None, student, kdzoo.losses.SoftTargets(4.0))
    ```
    """
    check_split(data)
    directory = check_directory(directory)
    views = check_positive_integer("views", views, _MOST_VIEWS)
    batch_size = check_positive_integer("batch_size", batch_size)
    top_k = None if top_k is None else check_positive_integer("top_k", top_k)
    check_teacher(teacher)
    if teacher_transform is None:
        check_images(teacher, data)
    seed, layers = check_integer("seed", seed), _checked_layers(teacher, layers)
    augmentation = augmentations.resolve(augmentation, data.name)
    if augmentation is not None and type(augmentation) is not augmentations.Augmentation:
        raise ValueError(
            "Expected an Augmentation of kdzoo's own class, which a record can name. Received: "
            f"augmentation={shown(augmentation)}"
        )
    if augmentation is None and views > 1:
        raise ValueError(
            "Expected one view of images that are not augmented, as all would be alike. Received: "
            f"views={views}, augmentation=None"
        )
    check_choice("dtype", dtype, ("float16", "float32"))
    ask = Asking(teacher, layers, teacher_transform)
    answer = ask(data, np.arange(1))
    fields, classes = _fields(answer, top_k, dtype), answer[LOGITS].shape[-1]
    size = _examples_a_shard(fields)
    settings = {
        "format": FORMAT,
        "teacher": fingerprint_of_model(teacher),
        "precision": precision_of_model(teacher),
        "data": fingerprint_of_data(data),
        "examples": len(data),
        "augmentation": None if augmentation is None else dataclasses.asdict(augmentation),
        "seed": seed,
        "views": views,
        "top_k": top_k,
        "classes": classes,
        "fields": [[name, list(shape), kind] for name, shape, kind in fields],
        "examples_a_shard": size,
        "probe": ask.probe(data),
    }

    def answers(view, start, stop):
        parts = []
        for at in range(start, stop, batch_size):
            indices = np.arange(at, min(at + batch_size, stop))
            parts.append(_pack(ask(data, indices, augmentation, seed, view), fields, top_k))
        return np.concatenate(parts)

    sweep(directory)  # What a killed process left, also of a record that it had completed.
    if _Index(directory, settings).is_complete:
        return directory
    with one_process(directory):
        _write_missing(_Index(directory, settings), answers)
    return directory


def _write_missing(index, answers):
    """Writes the shards that a record lacks.

    Args:
        index: The `_Index`.
        answers: Function of a view and the first and last example, exclusive, to their records.
    """
    examples, size = index.settings["examples"], index.settings["examples_a_shard"]
    for view in range(index.settings["views"]):
        for start in range(0, examples, size):
            name = shard_name(view, start)
            if name in index.shards:
                continue
            stop, path = min(start + size, examples), index.directory / name
            _write(path, answers(view, start, stop))
            shard = {"view": view, "start": start, "stop": stop, "sha256": digest_of_file(path)}
            index.shards[name] = shard
            index.write(complete=False)
    index.write(complete=True)


def _checked_layers(teacher, layers):
    """Returns the paths of layers as a list, each of them once."""
    from kdzoo.graph import taps

    layers = [] if layers is None else checked_paths(layers)
    for layer in layers:
        if layer in (LOGITS, LARGEST, PLACES, REST):
            raise ValueError(
                f"Expected layers besides {layer!r}, a name under which the teacher's answers are "
                f"kept themselves. Received: layers={shown(layers)}; leave it out, or rename that "
                "layer."
            )
        taps.find_layer(teacher, layer)
    return layers


def _fields(answer, top_k, dtype):
    """What a record consists of: a list of (name, shape of one example, type)."""
    classes = answer[LOGITS].shape[-1]
    if answer[LOGITS].ndim != 2:
        raise ValueError(
            "Expected a teacher with logits of shape (batch, classes). Received: shape "
            f"{answer[LOGITS].shape}"
        )
    fields = [(LOGITS, (classes,), dtype)]
    if top_k is not None:
        if top_k >= classes:
            raise ValueError(
                f"Expected top_k below the number of classes, {classes}. Received: top_k={top_k}"
            )
        fields = [(LARGEST, (top_k,), dtype), (PLACES, (top_k,), "int32"), (REST, (1,), dtype)]
    others = [(name, each.shape[1:], dtype) for name, each in answer.items() if name != LOGITS]
    return fields + others


def _examples_a_shard(fields):
    """How many examples go into a file of about 64 MB."""
    return max(1, (64 << 20) // record_type(fields).itemsize)


def _pack(answer, fields, top_k):
    """Answers as an array of records, one for each example."""
    if top_k is not None:
        answer = {**answer, **_largest(answer[LOGITS], top_k)}
    records = np.empty(len(answer[LOGITS]), record_type(fields))
    for name, _, kind in fields:
        with np.errstate(over="ignore"):
            records[name] = answer[name]
        if not np.isfinite(records[name]).all():
            raise ValueError(
                f"Expected answers that {kind} can hold. Received: {np.abs(answer[name]).max():.6g}"
                f" in {name!r}; record in float32, if they are finite."
            )
    return records


def _largest(logits, top_k):
    """The largest logits, their classes, and the logit that each of the others is given."""
    places = np.argpartition(-logits, top_k - 1, axis=-1)[:, :top_k]
    rest = np.array(logits, "float64")
    np.put_along_axis(rest, places, -np.inf, axis=-1)
    highest = rest.max(-1, keepdims=True)
    mean = np.exp(rest - highest).sum(-1, keepdims=True) / (logits.shape[-1] - top_k)
    return {
        LARGEST: np.take_along_axis(logits, places, axis=-1),
        PLACES: places,
        REST: highest + np.log(mean),
    }


def _write(path, records):
    """Writes an ArrayRecord file whole or not at all."""
    from array_record.python import array_record_module

    # Small records are read all at once, so they share blocks; large ones are read one by one.
    group = 1 if records.itemsize > SMALL_RECORD else 1024
    with atomic_path(path, records.nbytes) as temporary:
        writer = array_record_module.ArrayRecordWriter(str(temporary), f"group_size:{group}")
        for record in records:
            writer.write(record.tobytes())
        writer.close()


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
            elif name == "views":  # Those that are missing can be asked for.
                same = found[name] <= value
            else:
                same = found[name] == value
            if not same:
                what = f"another {WORDS.get(name, name)}"
                what = f"{found[name]} views; ask for as many" if name == "views" else what
                raise ValueError(
                    "Expected a new directory, or the record of this teacher. Received: "
                    f"{self.directory}, a record of {what}"
                )
