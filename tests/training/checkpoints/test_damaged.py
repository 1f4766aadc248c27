"""What is not as the training wrote it is never loaded, and the epoch before takes its place."""

import hashlib
import os
import pathlib
import warnings

import numpy as np
import pytest
from safetensors.numpy import load, save

from kdzoo.training.callbacks import EpochCheckpoint
from kdzoo.training.checkpoints import files
from kdzoo.training.checkpoints.state import state_of


def assert_falls_back(run, model, weights, reason=None):
    """The epoch before is loaded, and a sentence names the file and the reason."""
    before = sorted(run.rglob("*"))
    with pytest.warns(UserWarning, match=reason) as said:
        assert EpochCheckpoint(run).restore(model) == 1
    [text] = [str(warning.message) for warning in said if warning.category is UserWarning]
    assert text.startswith(f"Expected {run / 'epoch-0002'}")
    assert "\n" not in text
    assert text.endswith(f"; going on from {run / 'epoch-0001'}.")
    for ours, theirs in zip(model.get_weights(), weights[0], strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert sorted(run.rglob("*")) == before


@pytest.mark.parametrize("name", [files.STATE, files.ARRAYS])
def test_one_flipped_bit_anywhere_is_found(name, run, two_epochs, model):
    path, expected = run / "epoch-0002" / name, state_of(model)
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    for place in rng.choice(len(whole), 200, replace=False):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        with pytest.raises(files.Damaged, match="epoch-0002"):
            files.read_arrays(path.parent, files.read_state(path.parent, 2), expected)
    assert_falls_back(run, model, two_epochs[1])


@pytest.mark.parametrize("name", [files.STATE, files.ARRAYS])
@pytest.mark.parametrize("part", [0, 0.5, 0.99, 2])
def test_a_cut_or_longer_file_is_found(name, part, run, two_epochs, model):
    path = run / "epoch-0002" / name
    whole = path.read_bytes()
    path.write_bytes((whole * 2)[: int(part * len(whole))])
    assert_falls_back(run, model, two_epochs[1])


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"epochs": -5}, "epochs=-5"),
        ({"epochs": "one"}, "epochs='one'"),
        ({"epochs": 3}, "epochs=3"),
        ({"epochs": 2.0}, r"epochs=2\.0"),
        ({"epochs": True}, "epochs=True"),
        ({"history": []}, "a history"),
        ({"history": {"loss": [1.0, 2.0, 3.0]}}, "a history"),
        ({"history": {"loss": []}}, "a history"),
        ({"history": {"loss": ["1", "2"]}}, "a history"),
        ({"history": {"loss": [True, False]}}, "a history"),
        ({"history": {"loss": [10**400, 1]}}, "a history"),
        ({"history": {"loss": [float("nan"), 1]}}, "a history"),
        ({"format": 99}, "format 99"),
        ({"format": None}, "format None"),
        ({"files": {}}, "other files"),
        ({"files": []}, "other files"),
        ({"files": {files.ARRAYS: 3}}, "other files"),
        ({"files": {"../x": {"bytes": 1, "sha256": ""}}}, "other files"),
        ({"files": {files.ARRAYS: {"bytes": 1, "sha256": ""}}}, "bytes in place of 1"),
        ({"not_finite": 7}, "other files"),
    ],
)
def test_well_formed_nonsense_is_found(fields, reason, run, two_epochs, model, rewrite):
    rewrite(run / "epoch-0002", **fields)
    assert_falls_back(run, model, two_epochs[1], reason)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"[]", "a JSON file of a list"),
        (b"{}", "no field 'epochs'"),
        (b'{"format": 2}', "no field 'epochs'"),
        (b"[" * 99_999, "lists within lists"),
        (b"\xff\xfe", "no text"),
        (b'{"epochs": 1' + b"0" * 9_999 + b"}", None),
    ],
)
def test_a_state_that_is_none_is_found(content, reason, run, two_epochs, model):
    (run / "epoch-0002" / "state.json").write_bytes(content)
    assert_falls_back(run, model, two_epochs[1], reason)


def test_weights_that_are_not_finite_are_found_though_the_hash_is_right(
    run, two_epochs, model, rewrite
):
    path = run / "epoch-0002" / files.ARRAYS
    arrays = load(path.read_bytes())
    name = next(name for name, array in arrays.items() if array.shape == (4, 5))
    arrays[name] = np.full_like(arrays[name], np.nan)
    content = save(arrays)
    path.write_bytes(content)
    described = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    rewrite(run / "epoch-0002", files={files.ARRAYS: described})
    assert_falls_back(run, model, two_epochs[1], f"NaN or infinity in '{name}'")


@pytest.mark.parametrize("name", [files.STATE, files.ARRAYS])
@pytest.mark.parametrize("kind", ["missing", "pipe", "directory", "large"])
def test_what_is_no_file_of_its_size_is_not_waited_for(name, kind, run, two_epochs, model):
    path = run / "epoch-0002" / name
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    elif kind == "large":
        path.write_bytes(b"")
        os.truncate(path, 1 << 40)
    reason = {"missing": "no such file", "large": "with holes"}.get(kind, f"a {kind}")
    assert_falls_back(run, model, two_epochs[1], reason)


@pytest.mark.parametrize("kind", ["file", "empty directory", "pipe"])
def test_what_is_no_checkpoint_is_passed_by(kind, run, two_epochs, model, tmp_path):
    (run / "epoch-0002").rename(tmp_path / "aside")
    if kind == "file":
        (run / "epoch-0002").write_bytes(b"")
    elif kind == "pipe":
        os.mkfifo(run / "epoch-0002")
    else:
        (run / "epoch-0002").mkdir()
    assert_falls_back(run, model, two_epochs[1])


def test_where_none_is_whole_nothing_is_loaded(run, model):
    for path in run.glob("epoch-*/state.json"):
        path.write_bytes(b"{")
    before = model.get_weights()
    with pytest.raises(ValueError, match="Expected a whole checkpoint in") as error:
        EpochCheckpoint(run).restore(model)
    assert str(run) in str(error.value)
    assert "\n" not in str(error.value)
    for ours, theirs in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert len(list(run.glob("epoch-*"))) == 2


def test_a_whole_one_of_another_run_is_refused_and_not_passed_by(run, compiled, rewrite):
    rewrite(run / "epoch-0002", settings=7)
    with pytest.raises(ValueError, match="a run with settings None"):
        EpochCheckpoint(run).restore(compiled())


@pytest.mark.parametrize(
    ("other", "what"),
    [
        ({"optimizer": "sgd"}, "array 'optimizer//10' that they do not have"),
        ({"optimizer": "nadam"}, "no array 'optimizer//"),
        ({"units": 6}, "other shapes"),
    ],
)
def test_another_optimizer_or_model_is_refused(other, what, run, compiled):
    with pytest.raises(ValueError, match=what):
        EpochCheckpoint(run).restore(compiled(**other))


def test_the_damaged_one_is_replaced_by_the_next_whole_one(run, two_epochs, compiled, fit):
    (run / "epoch-0002" / files.ARRAYS).write_bytes(b"")
    checkpoint, model = EpochCheckpoint(run), compiled()
    with pytest.warns(UserWarning, match=r"state\.safetensors"):
        done = checkpoint.restore(model)
    fit(model, checkpoint, 2, done)
    assert sorted(path.name for path in run.iterdir()) == ["epoch-0001", "epoch-0002"]
    for ours, theirs in zip(model.get_weights(), two_epochs[1][1], strict=True):
        np.testing.assert_array_equal(ours, theirs)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        assert EpochCheckpoint(run).restore(compiled()) == 2


def test_damaged_ones_far_ahead_go_when_the_next_epoch_is_there(run, compiled, fit):
    (run / "epoch-0009").mkdir()
    checkpoint, model = EpochCheckpoint(run), compiled()
    with pytest.warns(UserWarning, match="epoch-0009"):
        assert checkpoint.restore(model) == 2
    assert pathlib.Path(run, "epoch-0009").exists()
    fit(model, checkpoint, 3, 2)
    assert sorted(path.name for path in run.iterdir()) == ["epoch-0002", "epoch-0003"]
