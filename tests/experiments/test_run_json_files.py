"""The JSON files of a run that are damaged or made to do harm: one sentence that names the file."""

import json
import os

import pytest

from kdzoo.experiments.run_json_files import read_data, read_result, read_results, read_seconds
from kdzoo.experiments.training_time import Clock
from tools.train_zoo import MEASURED

ROW = {
    "kind": "alone",
    "seed": 0,
    "parameters": 50,
    "test_accuracy": 0.5,
    "test_errors": 5,
    "seconds": 1.5,
    "versions": {"keras": "3.15.1"},
    "weights": "0" * 64,
    "teacher_weights": ["1" * 64, "2" * 64],
    "unique_weights": 40,
    "identity": "3" * 64,
    "products": {"model.tflite": "4" * 64},
    "history": {"loss": [1.5, 1], "hints": [None], "prune": {"loss": [0.5]}},
    "settings": {"kind": "alone", "seed": 0},
}
RESULTS = {"settings": {}, "versions": {}, "rows": [ROW]}
DATA = {"name": "digits", "version": None, "sha256": {"test": "0" * 64}}
SECONDS = {"seconds": 1.5, "commits": ["0123456789"]}


@pytest.mark.parametrize(
    ("read", "content"),
    [(read_result, ROW), (read_results, RESULTS), (read_data, DATA), (read_seconds, SECONDS)],
)
def test_what_is_whole_is_read(read, content, tmp_path):
    (tmp_path / "file.json").write_text(json.dumps(content))
    assert read(tmp_path / "file.json") == content


@pytest.mark.parametrize("path", sorted(MEASURED.glob("*.json")), ids=lambda path: path.stem)
def test_what_was_committed_is_read(path):
    content = json.loads(path.read_text())
    if "rows" in content:
        assert read_results(path) == content


@pytest.mark.parametrize(
    "change",
    [
        {"kind": 5},
        {"kind": "teacher"},
        {"seed": "0"},
        {"seed": 1},
        {"seed": True},
        {"settings": [1]},
        {"test_accuracy": "high"},
        {"test_accuracy": 7.5},
        {"test_accuracy": -0.5},
        {"test_accuracy": float("nan")},
        {"validation_accuracy": float("inf")},
        {"agreement": [1]},
        {"test_errors": -1},
        {"test_errors": 0.5},
        {"parameters": None},
        {"bytes": "many"},
        {"seconds": "long"},
        {"seconds": -5},
        {"versions": "3"},
        {"weights": 5},
        {"teacher_weights": {}},
        {"teacher_weights": [5]},
        {"copied_weights": 5},
        {"identity": 5},
        {"unique_weights": "many"},
        {"products": ["model.tflite"]},
        {"products": {"model.tflite": 5}},
        {"products": {"model.tflite": "1234"}},
        {"history": [1.0]},
        {"history": {"loss": 1.0}},
        {"history": {"loss": ["low"]}},
        {"history": {"prune": {"loss": {"loss": [1.0]}}}},
    ],
)
def test_a_row_with_a_damaged_field_is_refused(change, tmp_path):
    path = tmp_path / "alone-0" / "result.json"
    path.parent.mkdir()
    path.write_text(json.dumps(ROW | change))
    with pytest.raises(ValueError, match=r"result\.json to be .*delete alone-0, which is then"):
        read_result(path)
    if change not in ({"kind": "teacher"}, {"seed": 1}, {"settings": [1]}):
        path.write_text(json.dumps(RESULTS | {"rows": [ROW | change]}))
        with pytest.raises(ValueError, match=r"result\.json to be the results of a recipe"):
            read_results(path)


@pytest.mark.parametrize("field", ["kind", "seed", "settings", "test_accuracy"])
def test_a_row_that_lacks_a_field_is_refused(field, tmp_path):
    (tmp_path / "result.json").write_text(json.dumps({k: v for k, v in ROW.items() if k != field}))
    with pytest.raises(ValueError, match=rf"result\.json to be .*Received: .*{field}"):
        read_result(tmp_path / "result.json")


@pytest.mark.parametrize(
    ("read", "content"),
    [
        (read_results, RESULTS | {"rows": 5}),
        (read_results, RESULTS | {"rows": [5]}),
        (read_results, {"settings": {}, "versions": {}}),
        (read_results, {"rows": []}),
        (read_results, RESULTS | {"data_sha256": [5]}),
        (read_data, DATA | {"sha256": 5}),
        (read_data, DATA | {"sha256": {"test": [5]}}),
        (read_data, DATA | {"name": None}),
        (read_data, DATA | {"version": 3}),
        (read_seconds, SECONDS | {"seconds": "long"}),
        (read_seconds, SECONDS | {"seconds": float("nan")}),
        (read_seconds, SECONDS | {"commits": "0123"}),
        (read_seconds, {"seconds": 1.0}),
    ],
)
def test_other_files_with_damaged_fields_are_refused(read, content, tmp_path):
    (tmp_path / "file.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"Expected .*file\.json to be "):
        read(tmp_path / "file.json")


def test_a_clock_says_which_file_is_damaged(tmp_path):
    (tmp_path / "seconds.json").write_text('{"seconds": "long"}')
    with pytest.raises(ValueError, match=r"seconds\.json to be the seconds of a training"):
        Clock(tmp_path)


@pytest.mark.parametrize("read", [read_result, read_results, read_data, read_seconds])
def test_a_pipe_is_refused_at_once(read, tmp_path):
    os.mkfifo(tmp_path / "file.json")
    with pytest.raises(ValueError, match=r"file\.json to be a regular file. Received: a pipe"):
        read(tmp_path / "file.json")
