"""Data sets by name and from directories, and what happens when they are not there."""

import dataclasses
import json
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import kdzoo.data


def assert_same(first, second):
    for field in ("name", "class_names", "version"):
        assert getattr(first, field) == getattr(second, field), field
    for part in ("train", "validation", "test"):
        for ours, theirs in zip(
            getattr(first, part).arrays(), getattr(second, part).arrays(), strict=True
        ):
            np.testing.assert_array_equal(ours, theirs)


@pytest.fixture
def exported(tmp_path):
    return kdzoo.data.export("digits", tmp_path / "digits")


def test_export_reads_back_the_same(exported):
    assert np.load(exported / "train_images.npy").shape == (1000, 8, 8, 1)
    assert_same(kdzoo.data.load(exported), kdzoo.data.load("digits"))
    assert_same(kdzoo.data.load(str(exported)), kdzoo.data.load("digits"))
    assert_same(
        kdzoo.data.load(exported, validation=0.3), kdzoo.data.load("digits", validation=0.3)
    )


@pytest.mark.parametrize(
    ("train", "validation"),
    [([5, 5, 3, 9], [7, 1]), ([3, 5, 9], [7, 1]), ([3, 5, 9], [1, 5]), ([1, 3], [5, 9])],
)
def test_subsets_are_exported_as_they_are(train, validation, tmp_path):
    """Also with examples that come twice or in another order, or that both splits have."""
    whole = kdzoo.data.load("digits")
    parts = {"train": whole.train.subset(train), "validation": whole.train.subset(validation)}
    data = dataclasses.replace(whole, **parts)
    assert_same(kdzoo.data.load(kdzoo.data.export(data, tmp_path / "mine")), data)


def test_export_is_found_by_name(tmp_path, monkeypatch):
    images = np.random.default_rng(0).integers(0, 256, (30, 4, 4, 3)).astype("uint8")
    labels = np.arange(30) % 3
    data = kdzoo.data.from_arrays(
        images, labels, validation=(images[:6], labels[:6]), test=(images, labels), name="mine"
    )
    kdzoo.data.export(data, tmp_path / "mine")
    assert_same(kdzoo.data.load("mine", data_dir=tmp_path), data)
    assert_same(kdzoo.data.load("mine", data_dir=tmp_path / "mine"), data)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    assert_same(kdzoo.data.load("mine"), data)


def test_export_never_overwrites(exported):
    before = sorted(path.name for path in exported.iterdir())
    with pytest.raises(FileExistsError, match="a new or an empty directory"):
        kdzoo.data.export("digits", exported)
    assert sorted(path.name for path in exported.iterdir()) == before


def test_export_leaves_nothing_behind_when_it_fails(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr(np, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        kdzoo.data.export("digits", tmp_path / "digits")
    assert not list(tmp_path.iterdir())


def test_export_refuses_floats(tmp_path):
    data = kdzoo.data.from_arrays(np.zeros((20, 4, 4, 1)), np.arange(20) % 2)
    with pytest.raises(ValueError, match="Expected uint8 images to export"):
        kdzoo.data.export(data, tmp_path / "data")


def replace_array(directory, name, change):
    """Replaces an array in a directory without checksums, as one written by hand may be."""
    np.save(directory / name, change(np.load(directory / name)))
    metadata = json.loads((directory / "dataset.json").read_text())
    del metadata["sha256"], metadata["metadata_sha256"]
    (directory / "dataset.json").write_text(json.dumps(metadata))


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (lambda d: (d / "test_labels.npy").unlink(), FileNotFoundError, "'test_labels.npy' in"),
        (lambda d: os.truncate(d / "test_images.npy", 999), ValueError, "damaged"),
        (lambda d: os.truncate(d / "test_images.npy", 0), ValueError, "damaged"),
        (lambda d: os.truncate(d / "dataset.json", 20), ValueError, "cut off"),
        (lambda d: (d / "dataset.json").write_text("[]"), ValueError, "a JSON file of a list"),
        (lambda d: (d / "dataset.json").write_text("{}"), ValueError, "not of format 1"),
        (lambda d: flip_a_bit(d / "train_labels.npy"), ValueError, "its SHA-256 is another"),
        (lambda d: flip_a_bit(d / "test_images.npy"), ValueError, "its SHA-256 is another"),
        (lambda d: (d / "dataset.json").unlink(), FileNotFoundError, "kdzoo data export"),
        (
            lambda d: replace_array(d, "train_images.npy", lambda x: x.astype("float32")),
            ValueError,
            "holds float32 instead of uint8",
        ),
        (
            lambda d: replace_array(d, "train_labels.npy", lambda x: x + 5),
            ValueError,
            r"labels in \[0, 9\]",
        ),
        (
            lambda d: replace_array(d, "train_images.npy", lambda x: x[1:]),
            ValueError,
            r"its shape is \(999, 8, 8, 1\) instead of \(1000, 8, 8, 1\)",
        ),
        (
            lambda d: replace_array(d, "test_images.npy", lambda x: x + 100),
            ValueError,
            "a pixel is above 16",
        ),
        (
            lambda d: replace_array(d, "validation_indices.npy", lambda x: x + 900),
            ValueError,
            "an index is out of range",
        ),
    ],
)
def test_damage_is_reported(exported, damage, error, message):
    damage(exported)
    with pytest.raises(error, match=message):
        kdzoo.data.load(exported)


def test_metadata_that_names_other_files_is_refused(exported):
    metadata = json.loads((exported / "dataset.json").read_text())
    metadata["arrays"]["../secret"] = [1]
    del metadata["metadata_sha256"]
    (exported / "dataset.json").write_text(json.dumps(metadata))
    with pytest.raises(ValueError, match="it lists the arrays"):
        kdzoo.data.load(exported)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scale": 0}, "its scale is 0"),
        ({"scale": True}, "scale=True where a int belongs"),
        ({"version": 3}, "its version is 3"),
        ({"sha256": []}, "its checksums are no dictionary"),
        ({"class_names": [0, 1]}, "a class name is no text"),
        ({"arrays": {"train_images": 7}}, "it lists the arrays"),
        ({"arrays": {"train_images": 7, "train_labels": [1]}}, "shape of 'train_images' is 7"),
    ],
)
def test_wrong_metadata_are_reported(exported, change, message):
    metadata = json.loads((exported / "dataset.json").read_text())
    del metadata["metadata_sha256"]
    (exported / "dataset.json").write_text(json.dumps(metadata | change))
    with pytest.raises(ValueError, match=rf"damaged or was not written by kdzoo \(.*{message}"):
        kdzoo.data.load(exported)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("test_images", lambda x: x[:, :4], r"\(4, 8, 1\), those to train on \(8, 8, 1\)"),
        ("test_images", lambda x: np.repeat(x, 3, -1), r"its images are \(8, 8, 3\)"),
        ("train_images", lambda x: x[..., 0], "2 dimensions instead of 3"),
        ("validation_indices", lambda x: x[:, None], r"\(100, 1\) instead of 1 to 999 indices"),
        ("validation_indices", lambda x: x[:0], r"\(0,\) instead of"),
        ("validation_indices", lambda x: np.append(x, x[0]), "an index is there twice"),
        ("validation_indices", lambda x: np.arange(1000), r"\(1000,\) instead of"),
    ],
)
def test_arrays_that_do_not_belong_together_are_reported(exported, name, change, message):
    replace_array(exported, f"{name}.npy", change)
    metadata = json.loads((exported / "dataset.json").read_text())
    metadata["arrays"][name] = list(np.load(exported / f"{name}.npy").shape)
    (exported / "dataset.json").write_text(json.dumps(metadata))
    with pytest.raises(ValueError, match=rf"damaged or was not written by kdzoo \(.*{message}"):
        kdzoo.data.load(exported)


def test_an_archive_in_the_place_of_an_array_is_reported(exported):
    with open(exported / "test_labels.npy", "wb") as file:
        np.savez(file, labels=np.zeros(797, "int32"))
    with pytest.raises(ValueError, match="holds an archive instead of an array"):
        kdzoo.data.load(exported)


@pytest.mark.parametrize("name", [None, "", 3])
def test_no_name_is_refused(name):
    with pytest.raises(ValueError, match="Expected the name of a data set"):
        kdzoo.data.load(name)


def test_missing_directory_is_reported(tmp_path):
    with pytest.raises(FileNotFoundError, match="kdzoo data export NAME DIR"):
        kdzoo.data.load(str(tmp_path / "nothing"))


@pytest.mark.large_on_jax
def test_without_tensorflow(exported):
    """With JAX alone digits, exports and batches work, and tfds sets say what to do."""
    code = f"""
        import sys

        class Block:
            def find_spec(self, name, path=None, target=None):
                if name.split(".")[0] in ("tensorflow", "tensorflow_datasets"):
                    raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

        sys.meta_path.insert(0, Block())
        import kdzoo.data

        for name in ("digits", {str(exported)!r}):
            data = kdzoo.data.load(name)
            batches = data.train.batches(100, shuffle=True, augmentation="default")
            assert sum(len(labels) for _, labels in batches) == 900
        try:
            kdzoo.data.load("mnist")
        except ImportError as error:
            assert "kdzoo data export mnist DIR" in str(error), error
        else:
            raise AssertionError("no error")
        assert not [name for name in sys.modules if name.split(".")[0] == "tensorflow"]
    """
    environment = os.environ | {"KERAS_BACKEND": "jax", "PYTHONPATH": os.pathsep.join(sys.path)}
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
