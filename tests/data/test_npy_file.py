"""Arrays of exported data sets that are damaged, or made to do harm, end in one sentence."""

import hashlib
import json
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import kdzoo.data


@pytest.fixture
def exported(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (12, 4, 4, 1)).astype("uint8")
    labels = np.arange(12) % 3
    data = kdzoo.data.from_arrays(images, labels, validation=0, test=(images[:6], labels[:6]))
    return kdzoo.data.export(data, tmp_path / "data")


def say(directory, **changes):
    """Changes the metadata, whose checksum goes with it as that of a hostile file would."""
    path = directory / "dataset.json"
    content = {**json.loads(path.read_text()), **changes}
    content.pop("metadata_sha256", None)
    path.write_text(json.dumps(content))


def put(directory, content, name="train_images", shape=None):
    """Puts a file in the place of an array, with its right hash in the metadata."""
    (directory / f"{name}.npy").write_bytes(content)
    found = json.loads((directory / "dataset.json").read_text())
    arrays = found["arrays"] | ({} if shape is None else {name: shape})
    hashes = found["sha256"] | {name: hashlib.sha256(content).hexdigest()}
    say(directory, arrays=arrays, sha256=hashes)


def header(text, version=1):
    text = text.encode()
    size = len(text).to_bytes(2 if version == 1 else 4, "little")
    return b"\x93NUMPY" + bytes([version, 0]) + size + text


def described(descr="|u1", order="False", shape="(12, 4, 4, 1)"):
    return header(f"{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}\n")


HUGE = "(999999999999, 4, 4, 1)"
HOSTILE = {
    "a quote is missing": described().replace(b"'|u1'", b"'|u1 ") + bytes(192),
    "brackets without end": header("(" * 4000),
    "signs without end": header("-" * 4000 + "1"),
    "a huge header": b"\x93NUMPY\x02\x00" + b"\xff\xff\xff\xff" + bytes(192),
    "a huge shape": described(shape=HUGE) + bytes(192),
    "more digits than an integer has": described(shape=f"({'9' * 3000},)") + bytes(192),
    "objects": described("|O") + b"cos\nsystem\n(S'true'\ntR.",
    "text": described("<U9") + bytes(192 * 36),
    "a pickle": b"\x80\x04K\x00.",
    "a negative size": described(shape="(12, -4, -4, 1)") + bytes(192),
    "one byte less": described() + bytes(191),
    "one byte more": described() + bytes(193),
    "a header that is cut": described()[:40],
    "another version": described().replace(b"Y\x01", b"Y\x09") + bytes(192),
    "nothing": b"",
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=list(HOSTILE))
def test_a_hostile_array_is_refused_though_its_hash_is_right(content, exported):
    put(exported, content)
    with pytest.raises(ValueError, match=r"train_images\.npy' is damaged or was not written"):
        kdzoo.data.load(exported)


def test_every_bit_of_a_header_counts(exported):
    """Also where there is no hash, as in directories of earlier versions."""
    metadata = json.loads((exported / "dataset.json").read_text())
    del metadata["sha256"], metadata["metadata_sha256"]
    (exported / "dataset.json").write_text(json.dumps(metadata))
    path = exported / "test_labels.npy"
    content, refused = path.read_bytes(), 0
    _, expected = kdzoo.data.load(exported).test.arrays()
    for at in range(0, 8 * 100, 7):
        changed = bytearray(content)
        changed[at // 8] ^= 1 << at % 8
        path.write_bytes(changed)
        try:
            _, labels = kdzoo.data.load(exported).test.arrays()
        except ValueError as error:
            refused += "test_labels.npy' is damaged" in str(error)
        else:  # Such as a version that is read in the same way.
            np.testing.assert_array_equal(labels, expected)
    assert refused > 100


@pytest.mark.parametrize("kind", ["pipe", "directory", "device"])
@pytest.mark.parametrize("name", ["train_images.npy", "dataset.json"])
def test_what_is_no_file_is_refused_at_once(kind, name, exported):
    path = exported / name
    path.unlink()
    if kind == "directory":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(ValueError, match=rf"{name} to be a regular file. Received: a {kind}"):
        kdzoo.data.load(exported)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_what_numpy_writes_is_read(order, version, exported):
    images = np.load(exported / "train_images.npy")
    with open(exported / "train_images.npy", "wb") as file:
        np.lib.format.write_array(file, np.asarray(images, order=order), version)
    put(exported, (exported / "train_images.npy").read_bytes())
    labels = np.load(exported / "train_labels.npy").astype(">i8")
    np.save(exported / "train_labels.npy", labels)
    put(exported, (exported / "train_labels.npy").read_bytes(), "train_labels")
    found = kdzoo.data.load(exported).train
    np.testing.assert_array_equal(found.images, images)
    np.testing.assert_array_equal(found.labels, labels)


@pytest.mark.parametrize(
    "change", [{"scale": 16}, {"class_names": ["a", "b", "d"]}, {"metadata_sha256": 5}]
)
def test_an_altered_description_is_found_by_its_checksum(change, exported):
    path = exported / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=r"dataset\.json as .* altered; write the directory"):
        kdzoo.data.load(exported)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"sha25v": {}}, "unknown"),
        ({"class_names": []}, "it names no class"),
        ({"sha256": {"train_images": "0" * 64}}, r"it has checksums of \['train_images'\]"),
        ({"format": True}, "not of format 1"),
        ({"format": [1]}, "not of format 1"),
        ({"scale": 1e300}, r"scale=1e\+300 where a int belongs"),
    ],
)
def test_a_description_that_no_version_writes_is_refused(change, complaint, exported):
    say(exported, **change)
    with pytest.raises(ValueError, match=rf"dataset\.json' is damaged .*{complaint}"):
        kdzoo.data.load(exported)


def test_sizes_and_hashes_are_of_their_kinds(exported):
    found = json.loads((exported / "dataset.json").read_text())
    for size in (-1, 1.0, True, "12", None, [12]):
        say(exported, arrays=found["arrays"] | {"train_labels": [size]})
        with pytest.raises(ValueError, match="the shape of 'train_labels' is"):
            kdzoo.data.load(exported)
    say(exported, arrays=found["arrays"], sha256=found["sha256"] | {"train_labels": None})
    with pytest.raises(ValueError, match="the checksum of 'train_labels' is none"):
        kdzoo.data.load(exported)


@pytest.mark.parametrize(
    "content",
    [b"{", b"\xff", b"", b'{"format": ' + b"9" * 5000 + b"}", b'{"a":' * 5000, b"[{}," * 9],
)
def test_a_description_that_is_no_json_names_the_file(content, exported):
    (exported / "dataset.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"Expected .*dataset\.json to be the description of"):
        kdzoo.data.load(exported)


@pytest.mark.large
def test_sizes_that_lie_take_no_memory(exported):
    """Less than 100 MB beyond what the same process has where nothing lies."""
    put(exported, described(shape="(900000000, 4, 4, 1)") + bytes(192), shape=[900000000, 4, 4, 1])
    code = """
        import resource, sys
        import kdzoo.data
        from kdzoo.data import npy
        limit = 4 << 30  # Of memory, so that reserving the 14 GB fails, too.
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            npy.read(sys.argv[1])
        except ValueError as error:
            print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(exported)],
        capture_output=True,
        text=True,
        check=False,
    )
    grown, _, said = done.stdout.partition(" ")
    assert "train_images.npy' is damaged" in said, done.stderr
    assert "its array has 192 bytes instead of 14,400,000,000" in said
    assert int(grown) < 100 << 10


@pytest.mark.parametrize("scale", [15.5, 1000])
def test_what_could_not_be_read_again_is_not_written(scale, tmp_path):
    images = np.zeros((4, 2, 2, 1), "uint8")
    data = kdzoo.data.from_arrays(images, np.arange(4) % 2, scale=scale, validation=0)
    with pytest.raises(ValueError, match=f"integer from 1 to 255.* Received: scale={scale}"):
        kdzoo.data.npy.write(data, tmp_path / "data")
    assert not (tmp_path / "data").exists()
