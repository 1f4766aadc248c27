"""Damaged files are refused in a sentence, or load as they were saved: 50 cases, or 5,300."""

import json
import pathlib
import random

import pytest

if not pathlib.Path("/proc/self/clear_refs").exists():
    pytest.skip("memory is measured by what Linux says", allow_module_level=True)

from damaging import damage, overlap_heaps, seal
from harness import GOOD, Worker, describe
from subjects import FIXTURES, Subject
from worker import changes, complaint_of, of_command, of_error, snapshot

import kdzoo
from kdzoo.utils import open_regular
from kdzoo.utils.hashed_json import with_hash

SEED, BLOCK = 0, 50


@pytest.fixture(scope="module")
def worker(tmp_path_factory):
    """One process for all cases."""
    made = Worker(tmp_path_factory.mktemp("damage") / "good")
    yield made
    made.stop()


def check(worker, seed, first):
    results = [worker.run(seed, number) for number in range(first, first + BLOCK)]
    failed = [describe(seed, result) for result in results if result["outcome"] not in GOOD]
    assert not failed, "\n".join(failed)


# What files are refused for lies before any backend.
@pytest.mark.tensorflow
def test_damaged_files(worker):
    check(worker, SEED, 0)


@pytest.mark.large
@pytest.mark.parametrize("first", range(BLOCK, 5300, BLOCK))
def test_more_damaged_files(worker, first):
    check(worker, SEED, first)


def test_heaps_that_overlap_are_refused_before_they_are_read(tmp_path):
    path = tmp_path / "of_keras_2.h5"
    path.write_bytes((FIXTURES / path.name).read_bytes())
    assert "heaps" in overlap_heaps(path, random.Random(0))[0]
    with pytest.raises(ValueError, match=r"of_keras_2\.h5, .* a text in it that is not there"):
        kdzoo.load_model(path)


# What the cases are judged by.


@pytest.fixture
def case(tmp_path):
    """The directory of a case, a subject and its damage."""
    place = tmp_path / "case"
    place.mkdir()
    (tmp_path / "outside").mkdir()
    (place / "state.json").write_text(json.dumps({"epochs": 2, "sha256": "x"}))
    subject = Subject("loader", (), "*", None)
    return place, subject, damage(place, ["state.json"], random.Random(3))


def raised(function, *arguments):
    """What a function raises."""
    try:
        function(*arguments)
    except Exception as error:
        return error
    return None


def test_only_a_sentence_that_names_the_file_is_one(case):
    place, subject, done = case
    (place / "pipe").mkdir()
    kdzoos = raised(open_regular, place / "pipe")
    assert of_error(kdzoos, subject, place, done)[0] == "names no file"
    (place / "state.json").unlink(missing_ok=True)
    (place / "state.json").mkdir()
    kdzoos = raised(open_regular, place / "state.json")
    assert of_error(kdzoos, subject, place, done)[0] == "refused"
    for error, expected in (
        (raised(json.loads, "{"), "not kdzoo's"),
        (raised(open, place / "nowhere"), "names no file"),
        (raised(int, None), "traceback"),
    ):
        assert of_error(error, subject, place, done)[0] == expected
    assert complaint_of("state.json\nis damaged", subject, place, done) == "no sentence"


def test_a_command_ends_in_one_line(case):
    assert of_command(0, "", *case[1:2], case[0], case[2])[0] == "loaded"
    for status, error, expected in (
        (1, "kdzoo: state.json is damaged\n", "refused"),
        (1, "kdzoo: damaged\n", "names no file"),
        (1, "kdzoo: state.json\nis damaged\n", "no sentence"),
        (3, "kdzoo: state.json is damaged\n", "status"),
    ):
        assert of_command(status, error, case[1], case[0], case[2])[0] == expected


def test_what_is_written_elsewhere_is_seen(case):
    place = case[0]
    before = snapshot(place.parent)
    (place / "out.tflite").write_text("expected")
    (place.parent / "outside" / "x").write_text("unexpected")
    assert changes(before, snapshot(place.parent), ("out.tflite",)) == ["outside/x"]


def test_a_case_is_the_same_when_it_is_made_again(tmp_path):
    found = []
    for name in ("one", "other"):
        place = tmp_path / name / "case"
        place.mkdir(parents=True)
        (tmp_path / name / "outside").mkdir()
        (place / "config.json").write_text(json.dumps({"model": [1, {"x": 2}], "model_sha256": ""}))
        done = damage(place, ["config.json"], random.Random("0 2"))
        path = place / done.path
        found.append((done.how, path.read_bytes() if path.is_file() else None))
    assert found[0] == found[1]


def test_seals_are_those_of_kdzoo():
    manifest = {"models": [{"name": "x", "classes": 3}], "sha256": ""}
    shared = {"model": {"name": "x", "classes": 3}, "model_sha256": "", "version": 1}
    for content, arguments in (
        (manifest, {"part": "models"}),
        (shared, {"key": "model_sha256", "part": "model"}),
        ({"epochs": 3, "sha256": ""}, {}),
    ):
        assert seal(dict(content)) == with_hash(content, **arguments)


@pytest.mark.large_on_jax
@pytest.mark.parametrize(
    ("body", "expected"), [("sys.exit(3)", "crash"), ("time.sleep(60)", "hang"), ("", "loaded")]
)
def test_a_process_that_ends_or_hangs_is_started_again(body, expected, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import json, sys, time\n"
        "print('ready', flush=True)\n"
        "for line in sys.stdin:\n"
        f"    {body or 'pass'}\n"
        "    print(json.dumps({'outcome': 'loaded', 'case': 0}), flush=True)\n"
    )
    worker = Worker(tmp_path / "good", script, seconds=0.5 if expected == "hang" else 20)
    cases = 1 if expected == "hang" else 2
    try:
        assert [worker.run(0, number)["outcome"] for number in range(cases)] == cases * [expected]
    finally:
        worker.stop()
