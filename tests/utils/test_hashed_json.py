"""JSON files that carry their own hash: whatever is changed in them is found."""

import hashlib
import json
import pathlib
import sys

import pytest

from kdzoo.utils.hashed_json import check_hash, hashed_json, with_hash

FILES = "tests/compatibility/files"
CONTENT = {"version": 1, "sha256": None, "models": [{"b": 1, "a": 0.1}], "note": "ä"}


def test_the_hash_is_of_all_other_fields_whatever_their_order():
    expected = hashlib.sha256(json.dumps({"a": [1], "b": 2}, sort_keys=True).encode()).hexdigest()
    assert with_hash({"b": 2, "a": [1]})["sha256"] == expected
    assert with_hash({"sha256": "old", "a": [1], "b": 2})["sha256"] == expected


def test_the_hash_may_be_of_one_part_and_keeps_its_place():
    file = hashed_json(CONTENT, part="models").decode()
    expected = hashlib.sha256(b'[{"a": 0.1, "b": 1}]').hexdigest()
    assert list(json.loads(file)) == ["version", "sha256", "models", "note"]
    assert json.loads(file)["sha256"] == expected
    assert file.startswith('{\n "version": 1,\n "sha256": "')
    assert file.endswith("\n}\n")
    other = hashed_json({"a": 1}, key="metadata_sha256", indent=2).decode()
    assert other.startswith('{\n  "a": 1,\n  "metadata_sha256": "')


@pytest.mark.parametrize("part", [None, "models"])
def test_what_was_written_is_whole_and_what_was_altered_is_not(part):
    found = json.loads(hashed_json(CONTENT, part=part))
    check_hash("file.json", found, "fetch it again", part=part)
    deep = []
    for _ in range(2 * sys.getrecursionlimit()):
        deep = [deep]
    for change in ({"models": []}, {"models": deep}, {"sha256": "0" * 64}, {"sha256": None}):
        with pytest.raises(ValueError, match=r"file\.json as .* altered; fetch it again\."):
            check_hash("file.json", found | change, "fetch it again", part=part)
    del found["models"]
    with pytest.raises(ValueError, match="altered"):
        check_hash("file.json", found, "fetch it again", part=part)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("zoo_weights/manifest.json", {"part": "models"}),
        (f"{FILES}/shared/config.json", {"key": "model_sha256", "part": "model"}),
        (f"{FILES}/recorded/index.json", {}),
    ],
)
def test_files_of_earlier_versions_come_out_byte_by_byte(name, arguments):
    path = pathlib.Path(__file__).parents[2] / name
    assert hashed_json(json.loads(path.read_bytes()), **arguments) == path.read_bytes()
