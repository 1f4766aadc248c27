"""Records of teachers whose index or files were made to do harm: one sentence, nothing is used."""

import json
import os
import pathlib
import shutil

import keras
import numpy as np
import pytest

import kdzoo.data
from kdzoo.data import record_teacher, with_recorded_teacher
from kdzoo.teacher_cache import record_index
from kdzoo.teacher_cache.record_layout import record_type
from kdzoo.utils.hashed_json import with_hash

FILES = pathlib.Path(__file__).parents[1] / "compatibility" / "files"


@pytest.fixture(scope="module")
def split():
    return kdzoo.data.load(FILES / "data").train


@pytest.fixture(params=["recorded", "recorded_top_k"])
def record(request, tmp_path):
    return shutil.copytree(FILES / request.param, tmp_path / "record")


@pytest.fixture
def plain(tmp_path):
    return shutil.copytree(FILES / "recorded", tmp_path / "record")


def say(directory, change):
    """Changes an index, with the checksum that fits."""
    path = directory / "index.json"
    index = json.loads(path.read_text())
    del index["sha256"]
    change(index)
    path.write_text(json.dumps(with_hash(index)))


def setting(name, value):
    return lambda index: index.update({name: value})


def of_shard(**changes):
    return lambda index: next(iter(index["shards"].values())).update(changes)


def renamed(name):
    def change(index):
        first = next(iter(index["shards"]))
        index["shards"][name] = index["shards"].pop(first)

    return change


def of_fields(change):
    return lambda index: index.update(fields=change(index["fields"]))


HOSTILE = {
    "a view before the first": of_shard(view=-1),
    "a view that is text": of_shard(view="0"),
    "a view that is true": of_shard(view=True),
    "a view beyond the last": of_shard(view=2),
    "a start between shards": of_shard(start=1),
    "a stop beyond the examples": of_shard(stop=10**9),
    "a stop that is no integer": of_shard(stop=18.0),
    "a shard with more to say": of_shard(more=1),
    "a shard that is a list": lambda i: i["shards"].update({next(iter(i["shards"])): []}),
    "a hash that is none": of_shard(sha256="../" * 21 + "a"),
    "a shard above": renamed("../view-0000-from-00000000.arrayrecord"),
    "a shard from the root": renamed("/etc/passwd"),
    "a shard of another name": renamed("view-0000-from-00000000.ARRAYRECORD"),
    "shards that are a list": setting("shards", []),
    "no shards": setting("shards", {}),
    "one shard less": lambda index: index["shards"].popitem(),
    "integers of two bytes": of_fields(lambda f: [[n, s, "int16"] for n, s, _ in f]),
    "objects": of_fields(lambda f: [[n, s, "O"] for n, s, _ in f]),
    "a type that is a list": of_fields(lambda f: [[n, s, [["a", "O"]]] for n, s, _ in f]),
    "a shape that is huge": of_fields(lambda f: [*f, ["x", [10**9], f[0][2]]]),
    "a shape below nothing": of_fields(lambda f: [*f, ["x", [-1], f[0][2]]]),
    "a field that is there twice": of_fields(lambda f: [*f, ["x", [1], f[0][2]]] * 2),
    "a layer called as the largest": of_fields(lambda f: [*f, ["rest", [1], f[0][2]]]),
    "no field": setting("fields", []),
    "a field without a shape": of_fields(lambda f: [[f[0][0], f[0][2]]]),
    "many examples": setting("examples", 10**12),
    "no example": setting("examples", 0),
    "views that are text": setting("views", "2"),
    "no view": setting("views", 0),
    "no classes": setting("classes", 0),
    "classes without end": setting("classes", 10**30),
    "as many of the largest as classes": setting("top_k", 3),
    "shards of nothing": setting("examples_a_shard", 0),
    "a seed that is text": setting("seed", "0"),
    "complete by a number": setting("complete", 1),
    "another augmentation": setting("augmentation", {"shift": 1, "flip": False, "hole": 1}),
    "an augmentation of text": setting("augmentation", "default"),
    "a shift that is text": setting("augmentation", {"shift": "1", "flip": False, "cutout": 0}),
    "a flip by a number": setting("augmentation", {"shift": 1, "flip": 2, "cutout": 0}),
    "a probe that is a number": setting("probe", 1),
    "a probe that is not finite": setting("probe", [[float("nan"), 0.0, 0.0]]),
    "a probe too large for a float": setting("probe", [[10**400, 0, 0]]),
    "a probe of text": setting("probe", [["a", "b", "c"]]),
    "a probe of no image": setting("probe", []),
    "a probe of other classes": setting("probe", [[0.0] * 4]),
    "a teacher that is none": setting("teacher", None),
    "a precision that is none": setting("precision", 5),
    "more to say": setting("more", 1),
    "no data": lambda index: index.pop("data"),
    "no fields": lambda index: index.pop("fields"),
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=list(HOSTILE))
def test_a_hostile_index_is_refused_though_its_checksum_is_right(change, record, split):
    say(record, change)
    with pytest.raises(ValueError, match=r"Expected .*index\.json to be the index of a record"):
        with_recorded_teacher(split, record)


def test_the_same_index_is_refused_where_recording_goes_on(plain, split):
    say(plain, of_shard(view=-1))
    teacher = keras.Sequential([keras.Input(split.input_shape), keras.layers.Flatten()])
    with pytest.raises(ValueError, match=r"index\.json to be the index .*view of -1"):
        record_teacher(teacher, split, plain, views=2, augmentation=kdzoo.data.Augmentation(1))


def test_a_record_of_another_number_of_examples_is_refused(plain, split):
    def change(index):
        index["examples"] = 17
        for shard in index["shards"].values():
            shard["stop"] = 17

    say(plain, change)
    with pytest.raises(ValueError, match=r"the record of 18 samples\. Received: .*, of 17"):
        with_recorded_teacher(split, plain)


@pytest.mark.parametrize("kind", ["pipe", "directory", "device"])
@pytest.mark.parametrize("name", ["index.json", "view-0000-from-00000000.arrayrecord"])
def test_what_is_no_file_is_refused_at_once(kind, name, plain, split):
    path = plain / name
    path.unlink()
    if kind == "directory":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(ValueError, match=name):
        with_recorded_teacher(split, plain)


def put(directory, parts, group=1024):
    """Writes other records into a shard, with their right hash in the index."""
    from array_record.python import array_record_module

    path = directory / "view-0000-from-00000000.arrayrecord"
    writer = array_record_module.ArrayRecordWriter(str(path), f"group_size:{group}")
    for part in parts:
        writer.write(part)
    writer.close()
    digest = kdzoo.utils.digest_of_file(path)
    say(directory, lambda index: index["shards"][path.name].update(sha256=digest))
    return path


def outputs(split, directory, monkeypatch, small):
    """The outputs for all samples, read a view at a time or record by record."""
    monkeypatch.setattr("kdzoo.teacher_cache.record.SMALL_RECORD", 1 << 10 if small else 0)
    return with_recorded_teacher(split, directory)._record.at(np.arange(18), 0)


@pytest.mark.parametrize("small", [True, False])
@pytest.mark.parametrize(
    ("parts", "complaint"),
    [
        ([bytes(12)] * 17, "18 records of 12 bytes in .*arrayrecord. Received: 17 records"),
        ([bytes(12)] * 17 + [bytes(5)], "Received: some of other sizes"),
        (
            [bytes(12)] * 17 + [b"\x00\x00\xc0\x7f" * 3],
            "finite numbers in .*arrayrecord. Received: NaN",
        ),
        ([bytes(1 << 20)] * 18, r"18 records of 12 bytes in .*arrayrecord. Received: 18,8.* bytes"),
    ],
    ids=["number", "size", "not finite", "inflated"],
)
def test_other_records_than_the_index_says(parts, complaint, small, plain, split, monkeypatch):
    put(plain, parts)
    with pytest.raises(ValueError, match=complaint):
        outputs(split, plain, monkeypatch, small)


@pytest.mark.parametrize("group", [1, 7, 1024])
@pytest.mark.parametrize("size", [1, 5000, 70_000])
def test_the_bytes_of_a_file_are_counted_without_reading_them(group, size, tmp_path):
    from array_record.python import array_record_module

    from kdzoo.teacher_cache import record_shards

    path, random = tmp_path / "file", np.random.default_rng(0)
    writer = array_record_module.ArrayRecordWriter(str(path), f"group_size:{group}")
    for _ in range(50):
        writer.write(random.bytes(size))
    writer.close()
    with open(path, "rb") as file:
        assert 50 * size <= record_shards._decoded_bytes(file) <= 50 * (size + 64) + 1000


def test_classes_that_there_are_not(tmp_path, split):
    directory = shutil.copytree(FILES / "recorded_top_k", tmp_path / "record")
    index = json.loads((directory / "index.json").read_text())
    dtype = record_type(index["fields"])
    records = np.zeros(18, dtype)
    records["largest_classes"][3] = 3
    put(directory, [record.tobytes() for record in records])
    with pytest.raises(ValueError, match=r"classes from 0 to 2 in .*arrayrecord"):
        with_recorded_teacher(split, directory)._record.at(np.arange(18), 0)


@pytest.mark.parametrize("small", [True, False])
@pytest.mark.parametrize("damage", ["removed", "cut", "altered", "pipe"])
def test_a_file_that_changes_while_a_student_learns(damage, small, plain, split, monkeypatch):
    monkeypatch.setattr("kdzoo.teacher_cache.record.SMALL_RECORD", 1 << 10 if small else 0)
    record = with_recorded_teacher(split, plain)._record
    record.at(np.arange(18), 0)
    path = plain / "view-0001-from-00000000.arrayrecord"
    content = path.read_bytes()
    path.unlink()
    if damage == "pipe":
        os.mkfifo(path)
    elif damage != "removed":
        start = content[: len(content) // 2] if damage == "cut" else content.replace(b"r", b"s")
        path.write_bytes(start)
    with pytest.raises(ValueError, match=r"Expected .*view-0001-from-00000000\.arrayrecord"):
        record.at(np.arange(18), 1)


def test_a_student_that_was_learning_from_it_hears_its_name(plain, split):
    batches = with_recorded_teacher(split, plain).batches(6)
    (plain / "view-0001-from-00000000.arrayrecord").unlink()
    student = keras.Sequential([keras.Input(split.input_shape), keras.layers.Flatten()])
    student.add(keras.layers.Dense(3))
    distiller = kdzoo.Distiller(None, student, kdzoo.losses.SoftTargets(2.0))
    distiller.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    with pytest.raises(ValueError, match=r"^Expected the file of a record in .*view-0001-from"):
        distiller.fit(batches, epochs=2, verbose=0, shuffle=False)


def test_an_augmentation_that_moves_images_out_of_themselves_is_refused(plain, split):
    say(plain, lambda index: index["augmentation"].update(shift=60_000))
    with pytest.raises(ValueError, match=r"\(8, 8, 1\) in .*index\.json. Received: shift=60000"):
        with_recorded_teacher(split, plain)


def test_an_index_of_many_classes_is_read(plain):
    """Its probe holds four numbers for each."""
    classes = 200_000

    def change(index):
        index.update(classes=classes, probe=[[0.12345678901234567] * classes] * 4)
        index["fields"] = [["logits", [classes], "float32"]]

    say(plain, change)
    assert record_index.read_index(plain / "index.json")["classes"] == classes
