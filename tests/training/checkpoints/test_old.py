"""Checkpoints of the version before, HDF5 without hashes: read where they are plain and whole."""

import json
import os
import pathlib
import shutil

import h5py
import keras
import numpy as np
import pytest

from kdzoo.training.callbacks import EpochCheckpoint

KERNEL = "layers/dense/vars/0"


def seeds_of(model):
    weights = {id(weight) for weight in model.weights}
    return [variable for variable in model.variables if id(variable) not in weights]


@pytest.fixture(scope="module")
def old(tmp_path_factory, compiled):
    """A checkpoint as the version before wrote it."""
    directory = tmp_path_factory.mktemp("old") / "epoch-0001"
    directory.mkdir()
    model = compiled()
    model.optimizer.build(model.trainable_variables)
    model.save_weights(directory / "model.weights.h5")
    seeds = {f"seed_{place}": np.array(seed) for place, seed in enumerate(seeds_of(model))}
    np.savez(directory / "seeds.npz", **seeds)
    state = {"epochs": 1, "settings": None, "history": {"loss": [1.0], "val_loss": [np.nan]}}
    state["shapes"] = [list(weight.shape) for weight in model.weights]
    (directory / "state.json").write_text(json.dumps(state))
    return directory, model.get_weights(), [np.array(seed) for seed in seeds_of(model)]


@pytest.fixture
def run(old, tmp_path):
    shutil.copytree(old[0], tmp_path / "run" / "epoch-0001")
    return pathlib.Path(tmp_path / "run")


def assert_refused(run, model, name, reason=None):
    before = model.get_weights()
    with pytest.raises(ValueError, match=reason) as error:
        EpochCheckpoint(run).restore(model)
    text = str(error.value)
    assert str(run / "epoch-0001" / name) in text
    assert "\n" not in text
    for ours, theirs in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_whole_one_is_loaded(old, run, model):
    checkpoint = EpochCheckpoint(run)
    assert checkpoint.restore(model) == 1
    assert checkpoint.history["loss"] == [1.0]
    assert np.isnan(checkpoint.history["val_loss"]).all()
    for ours, theirs in zip(model.get_weights(), old[1], strict=True):
        np.testing.assert_array_equal(ours, theirs)
    for ours, theirs in zip(seeds_of(model), old[2], strict=True):
        np.testing.assert_array_equal(np.array(ours), theirs)


def replaced(run, change):
    """Puts something else in place of a kernel in the HDF5 file."""
    path = run / "epoch-0001" / "model.weights.h5"
    with h5py.File(path, "r+") as file:
        array = file[KERNEL][()]
        del file[KERNEL]
        change(file, array)
    return path


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda f, a: None, f"no '{KERNEL}'"),
        (lambda f, a: f.create_group(KERNEL), f"no '{KERNEL}'"),
        (lambda f, a: f.__setitem__(KERNEL, h5py.ExternalLink("other.h5", "/x")), f"no '{KERNEL}'"),
        (
            lambda f, a: f.__setitem__(KERNEL, h5py.SoftLink("/layers/dense/vars/1")),
            f"no '{KERNEL}'",
        ),
        (lambda f, a: f.create_dataset(KERNEL, data=a * np.nan), "NaN or infinity"),
        (lambda f, a: f.create_dataset(KERNEL, data=a[:2]), "of shape"),
        (lambda f, a: f.create_dataset(KERNEL, (10**6, 10**6), "f4"), "of shape"),
        (lambda f, a: f.create_dataset(KERNEL, data=a.astype("i4")), "of int32, not float32"),
        (lambda f, a: f.create_dataset(KERNEL, data=a.astype("S4")), "not of numbers"),
        (lambda f, a: f.create_dataset(KERNEL, a.shape, "f4"), "without its values"),
        (lambda f, a: f.create_dataset(KERNEL, data=a, compression="gzip"), "compressed"),
        (lambda f, a: f.create_dataset(KERNEL, data=a, chunks=(1, 1)), "compressed"),
        (
            lambda f, a: f.create_dataset(KERNEL, a.shape, "f4", external="/etc/passwd"),
            "in another file",
        ),
    ],
)
def test_an_array_that_is_not_plain_is_refused_unread(change, reason, run, model):
    replaced(run, change)
    assert_refused(run, model, "model.weights.h5", reason)


def test_a_damaged_file_is_one_sentence(run, model):
    path = run / "epoch-0001" / "model.weights.h5"
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    for size in (0, 7, 100, 2048, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        assert_refused(run, model, "model.weights.h5")
    for _ in range(20):
        damaged = bytearray(whole)
        start = rng.integers(0, 1024)
        damaged[start : start + 8] = rng.bytes(8)
        path.write_bytes(damaged)
        try:  # Without a hash, only what is visibly wrong can be refused.
            assert EpochCheckpoint(run).restore(model) == 1
        except ValueError as error:
            assert str(path) in str(error)  # noqa: PT017


@pytest.mark.parametrize("name", ["model.weights.h5", "seeds.npz", "state.json"])
@pytest.mark.parametrize("kind", ["missing", "pipe", "large", "text"])
def test_what_is_no_such_file_is_refused(name, kind, run, model):
    path = run / "epoch-0001" / name
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "large":
        path.write_bytes(b"")
        os.truncate(path, 1 << 40)
    elif kind == "text":
        path.write_bytes(b"nothing")
    assert_refused(run, model, name)


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (lambda path, seed: np.savez(path), "no 'seed_0.npy'"),
        (lambda path, seed: np.savez_compressed(path, seed_0=seed), "of another size"),
        (lambda path, seed: np.savez(path, seed_0=seed[:1]), "of another size"),
        (
            lambda path, seed: np.savez(path, seed_0=seed.view(f"f{seed.itemsize}")),
            "of another shape or type",
        ),
        (lambda path, seed: np.savez(path, seed_0=np.array([{}, 1], object)), None),
    ],
)
def test_seeds_of_another_form_are_refused(write, reason, run, model):
    write(run / "epoch-0001" / "seeds.npz", np.array(seeds_of(model)[0]))
    assert_refused(run, model, "seeds.npz", reason)


@pytest.mark.parametrize(
    "fields", [{"epochs": -5}, {"epochs": "one"}, {"history": [1]}, {"shapes": [[1]]}]
)
def test_a_state_of_nonsense_is_refused(fields, run, model):
    path = run / "epoch-0001" / "state.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))
    assert_refused(run, model, "" if "shapes" in fields else "state.json")


def test_one_that_is_gone_on_with_is_hashed_from_then_on(run, model):
    checkpoint = EpochCheckpoint(run)
    checkpoint.set_model(model)
    checkpoint.restore(model)
    checkpoint.on_epoch_end(1, {"loss": 0.5, "val_loss": 1.0})
    assert sorted(path.name for path in run.iterdir()) == ["epoch-0001", "epoch-0002"]
    assert EpochCheckpoint(run).restore(model) == 2


def test_bfloat16_of_keras_is_read(tmp_path):
    keras.config.set_dtype_policy("bfloat16")
    directory = tmp_path / "run" / "epoch-0001"
    directory.mkdir(parents=True)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    model.compile(keras.optimizers.SGD(), "mse")
    model.optimizer.build(model.trainable_variables)
    model.save_weights(directory / "model.weights.h5")
    np.savez(directory / "seeds.npz")
    state = {"epochs": 1, "settings": None, "history": {}}
    (directory / "state.json").write_text(json.dumps(state))
    kernel = keras.ops.convert_to_numpy(keras.ops.cast(model.layers[0].kernel, "float32"))
    model.layers[0].kernel.assign(kernel * 0)
    assert EpochCheckpoint(tmp_path / "run").restore(model) == 1
    found = keras.ops.convert_to_numpy(keras.ops.cast(model.layers[0].kernel, "float32"))
    np.testing.assert_array_equal(found, kernel)
