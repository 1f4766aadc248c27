"""Pretrained models: what comes back, and damage, of which nothing is loaded."""

import dataclasses
import functools
import hashlib
import io
import json
import os
import pathlib
import pickle
import subprocess
import sys

import h5py
import keras
import numpy as np
import pytest
from safetensors.numpy import load, save

import kdzoo
from kdzoo.zoo import manifest
from kdzoo.zoo.manifest import (
    File,
    list_pretrained,
    read_manifest,
    weights_directory,
    write_manifest,
)
from kdzoo.zoo.safetensors_weights import named_weights
from tools.publish_into_zoo_weights import logits_of_ramp

# Deeper than Python follows, but not than its reader of JSON does.
NESTED = functools.reduce(lambda inner, _: [inner], range(700), [])
NAME = "mlp_2x64/mnist"
SHAPE = (4, 4, 1)


def predict(model, images):
    return keras.ops.convert_to_numpy(model(images, training=False))


def test_the_model_comes_back(model, zoo, images):
    again = kdzoo.load(NAME, directory=str(zoo))
    np.testing.assert_array_equal(predict(again, images), predict(model, images))
    assert again.name == "mlp_2x64"
    assert all(layer.trainable for layer in again.layers)


@pytest.fixture
def normed(zoo):
    """A second model in the zoo, with norms that have seen something, and dropout."""
    keras.utils.set_random_seed(6)
    model = kdzoo.create("separable_025", 3, (8, 8, 1), dropout=0.1)
    rng = np.random.default_rng(6)
    model.set_weights([rng.uniform(0.1, 1.0, weight.shape) for weight in model.get_weights()])
    sha256, size = kdzoo.zoo.save_weights(model, zoo / "normed.safetensors")
    row = dataclasses.replace(
        read_manifest(zoo)[NAME],
        name="separable_025/cifar10",
        architecture="separable_025",
        arguments={"dropout": 0.1},
        dataset="cifar10",
        input_shape=(8, 8, 1),
        files={"weights": File("normed.safetensors", sha256, size)},
    )
    write_manifest([*read_manifest(zoo).values(), row], zoo)
    return model


def test_a_model_with_norms_comes_back_and_trains(normed, zoo):
    again = kdzoo.load("separable_025/cifar10", directory=zoo)
    expected = dict(named_weights(normed))
    found = dict(named_weights(again))
    assert found.keys() == expected.keys()
    assert any(name.endswith("moving_variance") for name in found)
    for name, variable in found.items():
        theirs = keras.ops.convert_to_numpy(expected[name])
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(variable), theirs, err_msg=name)
    before = [keras.ops.convert_to_numpy(variable) for variable in again.weights]
    again.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    again.fit(np.random.default_rng(0).random((6, 8, 8, 1)), np.arange(6) % 3, verbose=0)
    for old, variable in zip(before, again.weights, strict=True):
        assert np.abs(keras.ops.convert_to_numpy(variable) - old).max() > 0, variable.path


def test_a_fresh_head_sits_on_the_pretrained_features(model, zoo, images):
    again = kdzoo.load(NAME, classes=7, directory=zoo)
    assert again.output_shape == (None, 7)
    features = [
        keras.Model(network.input, network.get_layer("features").output)
        for network in (model, again)
    ]
    np.testing.assert_array_equal(*(predict(extractor, images) for extractor in features))
    same = kdzoo.load(NAME, classes=3, directory=zoo)
    assert np.abs(predict(same, images) - predict(model, images)).max() > 1e-3
    heads = [
        network.get_layer("logits").get_weights()[0] for network in (same, kdzoo.create("mlp_2x64"))
    ]
    spread = [kernel.std() * np.sqrt(kernel.shape[0]) for kernel in heads]
    assert spread[0] == pytest.approx(spread[1], rel=0.3)


@pytest.mark.parametrize("classes", [1, 0, -2, "seven"])
def test_a_wrong_number_of_classes(classes, zoo):
    with pytest.raises(ValueError, match="classes"):
        kdzoo.load(NAME, classes=classes, directory=zoo)


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
def test_a_load_that_fails_leaves_nothing_behind(error, model, zoo, images, monkeypatch):
    """Its variables begin when its scope ends; one that cannot must not be tried again."""

    def failing(self, shape, dtype=None):
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(keras.initializers.GlorotUniform, "__call__", failing)
        with pytest.raises(error):
            kdzoo.load(NAME, classes=7, directory=zoo)
    again = kdzoo.load(NAME, directory=zoo)
    np.testing.assert_array_equal(predict(again, images), predict(model, images))
    fresh = kdzoo.create("mlp_2x64", 3, SHAPE)
    fresh.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    fresh.fit(images, np.zeros(len(images)), verbose=0)


@pytest.mark.parametrize(
    ("left_out", "message"), [("logit", "mean 'logits'"), (["log", "logits"], "mean 'logits'")]
)
def test_layers_that_are_left_out_are_there(left_out, message, model, tmp_path):
    kdzoo.zoo.save_weights(model, tmp_path / "w.safetensors")
    before = model.get_weights()
    with pytest.raises(ValueError, match=message):
        kdzoo.zoo.load_weights(model, tmp_path / "w.safetensors", left_out=left_out)
    other = kdzoo.create("mlp_2x64", 3, SHAPE)
    head = other.get_layer("logits").get_weights()
    kdzoo.zoo.load_weights(other, tmp_path / "w.safetensors", left_out="logits")
    np.testing.assert_array_equal(other.get_layer("logits").get_weights()[0], head[0])
    np.testing.assert_array_equal(other.get_weights()[0], before[0])


@pytest.mark.parametrize("collect", [list, tuple, set, frozenset, lambda n: n[0]])
def test_layers_are_left_out_by_any_collection_of_names(collect, model, tmp_path):
    kdzoo.zoo.save_weights(model, tmp_path / "w.safetensors")
    other = kdzoo.create("mlp_2x64", 5, SHAPE)
    left_out = collect(["logits"])
    kdzoo.zoo.load_weights(other, tmp_path / "w.safetensors", left_out=left_out)
    np.testing.assert_array_equal(other.get_weights()[0], model.get_weights()[0])


def test_half_precision_is_cast_back(model, tmp_path, images):
    path = tmp_path / "half.safetensors"
    kdzoo.zoo.save_weights(model, path, "float16")
    content = path.read_bytes()
    assert len(content) < 0.6 * 4 * model.count_params()
    types = {key: tensor.dtype.name for key, tensor in load(content).items()}
    assert set(types.values()) == {"float16", "float32"}
    assert types["stage1/kernel"] == "float16"
    assert types["stage1/bias"] == "float32"
    again = kdzoo.create("mlp_2x64", 3, (4, 4, 1))
    kdzoo.zoo.load_weights(again, content)
    for given in (memoryview(content), path, str(path)):
        other = kdzoo.create("mlp_2x64", 3, (4, 4, 1))
        kdzoo.zoo.load_weights(other, given)
        for ours, theirs in zip(other.get_weights(), again.get_weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(ValueError, match=r"path or the bytes of a file\. Received: 5"):
        kdzoo.zoo.load_weights(other, 5)
    for ours, theirs in zip(again.weights, model.weights, strict=True):
        assert ours.dtype == "float32"
        expected = keras.ops.convert_to_numpy(theirs)
        if expected.ndim > 1:
            expected = expected.astype("float16").astype("float32")
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(ours), expected)


def test_what_float16_cannot_hold_stays(tmp_path):
    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.Dense(2, name="logits")(inputs))
    model.set_weights([np.array([[1e6, 0], [0, 1]], "float32"), np.zeros(2, "float32")])
    kdzoo.zoo.save_weights(model, tmp_path / "w.safetensors", "float16")
    kernel = load((tmp_path / "w.safetensors").read_bytes())["logits/kernel"]
    assert kernel.dtype == np.float32
    assert kernel[0, 0] == 1e6


@pytest.mark.parametrize("largest", [1e-9, 6e-5, 6.2e-5, 0.1])
def test_what_float16_holds_with_too_few_digits_stays(largest, tmp_path):
    inputs = keras.Input((50,))
    model = keras.Model(inputs, keras.layers.Dense(20, name="logits")(inputs))
    kernel = largest * np.random.default_rng(0).uniform(-1, 1, (50, 20)).astype("float32")
    kernel[0, 0] = largest
    model.set_weights([kernel, np.zeros(20, "float32")])
    kdzoo.zoo.save_weights(model, tmp_path / "w.safetensors", "float16")
    found = load((tmp_path / "w.safetensors").read_bytes())["logits/kernel"]
    assert found.dtype == ("float32" if largest < 2**-14 else "float16")
    np.testing.assert_allclose(found.astype("float32"), kernel, atol=2**-11 * largest, rtol=0)


def test_names(normed, zoo):
    other = "separable_025/cifar10"
    assert list_pretrained(directory=zoo) == [NAME, other]
    for wrong in ("", 5):
        with pytest.raises(ValueError, match="Expected directory to be a path"):
            list_pretrained(directory=wrong)
        with pytest.raises(ValueError, match="Expected directory to be a path"):
            kdzoo.load(NAME, directory=wrong)
    assert list_pretrained("mnist", directory=zoo) == [NAME]
    assert list_pretrained(family="separable", directory=zoo) == [other]
    assert list_pretrained("mnist", "mlp", directory=zoo) == [NAME]
    assert list_pretrained("mnist", "separable", directory=zoo) == []
    for wrong in (
        lambda: kdzoo.load("mlp_2x46/mnist", directory=zoo),
        lambda: kdzoo.card("mlp_2x46/mnist", directory=zoo),
    ):
        with pytest.raises(ValueError, match=f"Did you mean '{NAME}'"):
            wrong()
    with pytest.raises(ValueError, match="Did you mean 'mnist'"):
        list_pretrained(dataset="mnits", directory=zoo)
    with pytest.raises(ValueError, match="Did you mean 'mlp'"):
        list_pretrained(family="mpl", directory=zoo)
    with pytest.raises(ValueError, match=r"which has weights; make one with kdzoo\.export"):
        kdzoo.zoo.tflite(NAME, directory=zoo)


def _damaged(tensors, **changes):
    return save({**tensors, **changes})


def _hdf5():
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        file["kernel"] = np.zeros(3)
    return content.getvalue()


KERNEL = "logits/kernel"  # The last, so that others are found whole before it.
# What is done to the bytes of the weights, under the hash of what they were ...
DAMAGE = {
    "truncated": (lambda raw, tensors: raw[:-10], "truncated"),
    "empty": (lambda raw, tensors: b"", "truncated"),
    "longer": (lambda raw, tensors: raw + b"x", "another file or altered"),
    "one bit": (lambda raw, tensors: raw[:-5] + bytes([raw[-5] ^ 1]) + raw[-4:], "SHA-256"),
}
# ... and with the hash in the manifest put right, as a careless or hostile zoo might have it.
FORGED = {
    "empty": (lambda raw, tensors: b"", "an empty file"),
    "truncated": (lambda raw, tensors: raw[:-10], "damaged or of another format"),
    "longer": (lambda raw, tensors: raw + b"x", "damaged or of another format"),
    "pickle": (lambda raw, tensors: pickle.dumps(tensors), "a pickle, which is never opened"),
    "hdf5": (lambda raw, tensors: _hdf5(), "an HDF5 file"),
    "zip": (lambda raw, tensors: b"PK\x03\x04" + raw, "a ZIP file"),
    "header longer than the file": (
        lambda raw, tensors: (len(raw) * 2).to_bytes(8, "little") + raw[8:],
        "damaged or of another format",
    ),
    "header of another length": (
        lambda raw, tensors: (
            (int.from_bytes(raw[:8], "little") - 9).to_bytes(8, "little") + raw[8:]
        ),
        "damaged or of another format",
    ),
    "two weights swapped": (
        lambda raw, tensors: _damaged(
            tensors, **{KERNEL: tensors["stage1/kernel"], "stage1/kernel": tensors[KERNEL]}
        ),
        "shape",
    ),
    "renamed": (
        lambda raw, tensors: save(
            {("other" if key == KERNEL else key): tensor for key, tensor in tensors.items()}
        ),
        "without 'logits/kernel', with 'other', which the model does not have",
    ),
    "missing": (
        lambda raw, tensors: save(
            {key: tensor for key, tensor in tensors.items() if key != KERNEL}
        ),
        "without 'logits/kernel'",
    ),
    "left over": (
        lambda raw, tensors: _damaged(tensors, more=np.zeros(3, "float32")),
        "with 'more'",
    ),
    "shape": (
        lambda raw, tensors: _damaged(tensors, **{KERNEL: tensors[KERNEL].T.copy()}),
        "shape",
    ),
    "integers": (
        lambda raw, tensors: _damaged(tensors, **{KERNEL: tensors[KERNEL].astype("int32")}),
        "float32. Received: int32",
    ),
    "float64": (
        lambda raw, tensors: _damaged(tensors, **{KERNEL: tensors[KERNEL].astype("float64")}),
        "float32. Received: float64",
    ),
    "not a number": (
        lambda raw, tensors: _damaged(tensors, **{KERNEL: np.full_like(tensors[KERNEL], np.nan)}),
        "finite",
    ),
}


def refused(zoo, message, error=ValueError, **arguments):
    """Checks that the model is refused by name."""
    with pytest.raises(error, match=message):
        kdzoo.load(NAME, directory=zoo, **arguments)


def compressed(row):
    """Makes a row one of a compressed model, and returns it."""
    end = {"shape": [1, 3], "dtype": "int8", "scale": 0.125, "zero_point": 3}
    signature = {"input": {**end, "shape": [1, 4, 4, 1]}, "output": end}
    row["files"]["tflite"] = row["files"]["weights"]
    row["measured"].update(tflite_accuracy=0.5, float=0.5, sparsity=0.0, signature=signature)
    return row


def signature(row):
    return compressed(row)["measured"]["signature"]


def forge(zoo, change):
    """Changes the manifest's one row, and puts the hash of the rows right."""
    path = zoo / "manifest.json"
    content = json.loads(path.read_text())
    change(content["models"][0])
    rows = json.dumps(content["models"], sort_keys=True).encode()
    path.write_text(json.dumps({**content, "sha256": hashlib.sha256(rows).hexdigest()}))


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_found_by_the_hash(damage, zoo):
    path = zoo / "weights.safetensors"
    change, message = DAMAGE[damage]
    path.write_bytes(change(path.read_bytes(), None))
    refused(zoo, message)


@pytest.mark.parametrize("damage", FORGED)
def test_damage_with_a_right_hash_is_refused_too(damage, zoo, model, images):
    path = zoo / "weights.safetensors"
    raw = path.read_bytes()
    change, message = FORGED[damage]
    content = change(raw, load(raw))
    path.write_bytes(content)
    right = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    forge(zoo, lambda row: row["files"]["weights"].update(right))
    refused(zoo, message)
    # Given to a model directly, it leaves the model as it was.
    other = kdzoo.create("mlp_2x64", 3, SHAPE)
    before = predict(other, images)
    assert np.abs(before - predict(model, images)).max() > 1e-3
    with pytest.raises(ValueError, match=message):
        kdzoo.zoo.load_weights(other, content)
    np.testing.assert_array_equal(predict(other, images), before)


@pytest.fixture
def coded(zoo, model):
    """The zoo's model with half of its weights zero and its weights in a `.kdz` file."""
    for layer in model.layers:
        if layer.get_weights():
            kernel, bias = layer.get_weights()
            layer.set_weights(
                [np.where(np.abs(kernel) < np.median(np.abs(kernel)), 0, kernel), bias]
            )
    path = zoo / "weights.kdz"
    kdzoo.save_compressed(model, path)
    ship(zoo, path, path.read_bytes())
    return path


def ship(zoo, path, content):
    """Makes a file the weights of the zoo's model, with hash and size that fit it."""
    path.write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    file = {"file": path.name, "sha256": sha256, "bytes": len(content)}
    forge(zoo, lambda row: row["files"]["weights"].update(file))


def test_weights_come_from_a_kdz_file_bit_for_bit(coded, zoo, model, tmp_path):
    again = kdzoo.load(NAME, directory=zoo)
    for ours, theirs in zip(again.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert all(layer.trainable for layer in again.layers)
    report = kdzoo.save_compressed(again, tmp_path / "again.kdz")
    assert report.bytes == pytest.approx(coded.stat().st_size, rel=0.02)
    other = kdzoo.load(NAME, classes=7, directory=zoo)
    assert other.output_shape == (None, 7)
    np.testing.assert_array_equal(
        other.get_layer("stage1").get_weights()[0], model.get_layer("stage1").get_weights()[0]
    )


def test_a_kdz_file_that_is_another_is_refused(coded, zoo):
    content = coded.read_bytes()
    coded.write_bytes(content[:-1] + b"x")
    refused(zoo, "SHA-256")
    ship(zoo, coded, content[:-1] + b"x")  # Also where the manifest was forged to fit it.
    refused(zoo, f"a .kdz file of a model. Received: '{NAME}', with one that was altered")
    ship(zoo, coded, content[:-9])
    refused(zoo, "truncated")
    kdzoo.save_compressed(kdzoo.create("mlp_2x128", 3, SHAPE), coded)
    ship(zoo, coded, coded.read_bytes())
    refused(zoo, "shape")


def test_files_that_are_elsewhere_or_missing(zoo, tmp_path):
    path = zoo / "weights.safetensors"
    outside = tmp_path / "outside.safetensors"
    path.rename(outside)
    refused(zoo, "weights.safetensors", FileNotFoundError)
    path.symlink_to(outside)
    refused(zoo, "a link to a file elsewhere")


@pytest.mark.parametrize("name", ["../outside.safetensors", "/etc/passwd", "a\\b.safetensors"])
def test_a_manifest_that_names_files_elsewhere(name, zoo):
    forge(zoo, lambda row: row["files"]["weights"].update(file=name))
    refused(zoo, "a file elsewhere")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "empty, cut off or no JSON"),
        ("{", "empty, cut off or no JSON"),
        ("[1, 2]", "a JSON file of a list, not of fields with names"),
        ('{"models": []}', "no 'version' in it"),
        ('{"version": 2, "models": []}', "version=2, which another kdzoo wrote; update kdzoo"),
        ('{"version": true, "models": []}', "version=True"),
        ("[" * 100_000, "lists within lists without end"),
        ('{"version": 1}', "one that was altered"),
        ('{"version": 1, "models": [{"name": "x"}]}', "one that was altered"),
    ],
)
def test_a_damaged_or_newer_manifest(content, message, zoo):
    (zoo / "manifest.json").write_text(content)
    refused(zoo, message)
    with pytest.raises(ValueError, match=message):
        read_manifest(zoo)


COST = {"accuracy": 0.5, "macs": 5, "width": 1.0, "parameters": 5}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda row: row["files"]["weights"].update(sha256=5), "5 where a str belongs"),
        (lambda row: row.update(training={}), "'recipe'"),
        (lambda row: row["measured"].pop("parameters"), "'parameters'"),
        (lambda row: row["measured"].update(macs=True), "True where a int belongs"),
        (lambda row: row["measured"]["accuracy"].update(shipped=7.5), "an accuracy of 7.5"),
        (lambda row: row["measured"]["accuracy"].update(mean=float("nan")), "nan where a number"),
        (lambda row: row["measured"]["accuracy"].update(by_seed={}), "accuracies of no seed"),
        (lambda row: row["measured"].update(sparsity="x"), "'x' where a float belongs"),
        (lambda row: row.update(licence=5), "5 where a str belongs"),
        (lambda row: row.update(labels=[1, 2, 3]), "1 where a str belongs"),
        (lambda row: row.update(role=5), "the role 5"),
        (lambda row: row.update(arguments={"name": "x"}), "'name' among the arguments"),
        (
            lambda row: row.update(arguments={"widht": 1}),
            "Expected arguments that 'mlp_2x64' takes",
        ),
        (lambda row: row["files"]["weights"].update(bytes="12"), "'12' where a int belongs"),
        (lambda row: row.update(files=[1]), "whole rows"),
        (lambda row: row.update(files={}), "a model without weights"),
        (lambda row: row.update(arguments=[1]), "where a dict belongs"),
        (lambda row: row.update(name=["a"]), "where a str belongs"),
        (lambda row: row.update(measured={}), "accuracy"),
        (lambda row: row.update(labels=["a"]), "1 labels for 3 classes"),
        (lambda row: row.update(more=1), "more"),
        (lambda row: row.pop("training"), "training"),
        (lambda row: row["training"].pop("alone_epochs"), "alone_epochs"),
        (lambda row: row["measured"]["alone"].pop("std"), "std"),
        (lambda row: row["measured"]["bytes"].update(weights=1.5), "1.5 where a int belongs"),
        (lambda row: row["measured"]["latency_ms"]["int8"].pop("q3"), "q3"),
        (lambda row: row["files"].update(tflite=row["files"]["weights"]), "tflite_accuracy"),
        (lambda row: compressed(row)["measured"].pop("signature"), "signature"),
        (lambda row: signature(row).pop("output"), "output"),
        (lambda row: signature(row)["input"].pop("dtype"), "dtype"),
        (lambda row: signature(row)["input"].pop("zero_point"), "zero_point"),
        (lambda row: signature(row)["input"].update(scale="1"), "'1' where a float belongs"),
        (lambda row: row.update(architecture="mlp_new"), "'mlp_new', which this kdzoo does not"),
        (lambda row: row["measured"].update(agreement="high"), "'high' where a float belongs"),
        (lambda row: row.update(input_shape=["a"]), "'a' where a int belongs"),
        (lambda row: row.update(input_shape=[4, 4]), r"images of the shape \[4, 4\]"),
        (lambda row: row.update(input_shape=[4, 0, 1]), r"images of the shape \[4, 0, 1\]"),
        (lambda row: row.update(classes=1, labels=["a"]), "1 classes"),
        (lambda row: row["training"].update(more=NESTED), "recursion"),
        (lambda row: row.update(name="../../mnist"), "the name '../../mnist'"),
        (lambda row: row["files"]["weights"].update(sha256="x" * 64), "a SHA-256 belongs"),
        (lambda row: row["files"]["weights"].update(bytes=-1), "bytes of -1"),
        (lambda row: row["files"]["weights"].update(bytes=10**30), "bytes of 1000"),
        (lambda row: row["files"]["weights"].update(file="a\0b"), "a file elsewhere"),
        (lambda row: row["files"]["weights"].update(more=1), "a file with 'more'"),
        (lambda row: row["measured"].update(test_sha256="0"), "a SHA-256 belongs"),
        (lambda row: row["measured"].update(parameters=-1), "parameters of -1"),
        (lambda row: row["measured"].update(exits=[]), "exits of 0"),
        (lambda row: row["measured"].update(exits=[COST, COST]), "'exits' of 'mlp"),
        (lambda row: row["measured"].update(exits=[COST, {**COST, "macs": -1}]), "macs of -1"),
        (lambda row: row["measured"].update(widths=[COST, {**COST, "width": -2.0}]), "-2.0"),
        (lambda row: row["measured"].update(widths=[COST, {**COST, "parameters": 5.0}]), "5.0"),
        (lambda row: row["measured"].update(widths=[COST, {**COST, "accuracy": 2.0}]), "2.0"),
        (lambda row: row.update(architecture="slimmable"), "no 'widths' of 'slimmable'"),
        (lambda row: row["measured"].update(macs=10**20), "macs of 1000"),
        (lambda row: row["measured"].update(calibration_error=-0.5), "calibration_error"),
        (lambda row: row["measured"].update(agreement=1.5), "1.5 where a number belongs"),
        (lambda row: row["measured"]["accuracy"].update(std=-0.1), "an accuracy of -0.1"),
        (lambda row: row["measured"]["alone"]["by_seed"].update({"0": 5.5}), "accuracy of 5.5"),
        (lambda row: row["measured"]["alone"]["by_seed"].update({"0": "a"}), "where a float"),
        (lambda row: row["measured"]["alone"]["by_seed"].update(x=0.5), "the seeds"),
        (lambda row: row["measured"]["accuracy"].update(shipped_seed="0"), "where a int"),
        (lambda row: row["measured"]["latency_ms"]["int8"].update(q1=-1.0), "-1.0 where a number"),
        (lambda row: row["measured"]["bytes"].update(weights=-5), "bytes of -5"),
        (lambda row: row["measured"].update(logits_of_ramp=["a"]), "'a' where a number"),
        (lambda row: signature(row)["input"].update(shape=[0]), "size of 0"),
        (lambda row: row["training"].update(epochs=-5), "epochs of -5"),
        (lambda row: row["training"].update(seeds=["0"]), "'0' where a int"),
        (lambda row: row["training"].update(seeds=[]), "a training of no seed"),
        (lambda row: row["training"].update(seconds=["long"]), "'long' where a number"),
        (lambda row: row["training"].update(seconds=5), "whole rows"),
        (lambda row: row["training"].update(teacher=5), "5 where a str"),
        (lambda row: row["training"].update(versions={"keras": 3}), "3 where a str"),
        (lambda row: row.update(input_shape=[4, 10**9, 1]), "images of the shape"),
        (lambda row: row.update(arguments={"depth": 10**6}), "depth=1000000 among"),
        (lambda row: row.update(arguments={"hidden": [10**9]}), "hidden=1000000000 among"),
        (lambda row: row.update(arguments={"hidden": [1] * 1000}), "1000 items in hidden"),
        (lambda row: row.update(arguments={"dropout": float("nan")}), "dropout=nan among"),
    ],
)
def test_rows_with_damaged_fields(change, message, zoo):
    forge(zoo, change)
    refused(zoo, message)


@pytest.mark.parametrize("step", [13, pytest.param(1, marks=pytest.mark.large)])
def test_every_byte_of_the_manifest_counts(step, normed, zoo):
    """With one bit of it flipped, and with the files of two models exchanged."""
    path, rng = zoo / "manifest.json", np.random.default_rng(0)
    raw = path.read_bytes()
    assert len(read_manifest(zoo)) == 2
    for at in range(0, len(raw), step):
        bit = int(rng.integers(0, 8))
        path.write_bytes(raw[:at] + bytes([raw[at] ^ 1 << bit]) + raw[at + 1 :])
        manifest._rows.cache_clear()  # The clock of the file system is slower than this.
        with pytest.raises(ValueError, match=r"Expected .*manifest\.json"):
            read_manifest(zoo)
    content = json.loads(raw)
    rows = content["models"]
    rows[0]["files"], rows[1]["files"] = rows[1]["files"], rows[0]["files"]
    path.write_text(json.dumps(content))
    refused(zoo, r"Received: one that was altered; reinstall kdzoo")


@pytest.mark.parametrize("name", ["manifest.json", "weights.safetensors"])
@pytest.mark.parametrize("other", ["pipe", "directory"])
def test_what_is_no_file_is_refused_at_once(name, other, zoo):
    (zoo / name).unlink()
    os.mkfifo(zoo / name) if other == "pipe" else (zoo / name).mkdir()
    refused(zoo, rf"{name} to be a regular file. Received: a {other}")


def test_a_manifest_that_is_a_link_elsewhere(zoo, tmp_path):
    (zoo / "manifest.json").rename(tmp_path / "manifest.json")
    (zoo / "manifest.json").symlink_to(tmp_path / "manifest.json")
    refused(zoo, "a link to a file elsewhere")


def test_what_was_read_is_not_shared(zoo):
    read_manifest(zoo)[NAME].measured["accuracy"]["shipped"] = 0.1
    assert read_manifest(zoo)[NAME].measured["accuracy"]["shipped"] == 0.49
    read_manifest(zoo).clear()
    assert list(read_manifest(zoo)) == [NAME]
    with pytest.raises(ValueError, match="Unknown pretrained model"):
        kdzoo.load(["a"], directory=zoo)


def test_the_weights_are_those_beside_the_code():
    """Not those of another checkout that is installed."""
    package = pathlib.Path(kdzoo.__file__).parent
    assert weights_directory() in (package / "zoo_weights", package.parent / "zoo_weights")


def test_no_manifest(tmp_path):
    refused(tmp_path, "Expected a manifest.json", FileNotFoundError)


def test_values_that_half_precision_cannot_hold_are_refused(tmp_path):
    inputs = keras.Input((2,))
    for dtype, fits in (("float32", True), ("float16", False)):
        model = keras.Model(inputs, keras.layers.Dense(2, name="logits", dtype=dtype)(inputs))
        content = save(
            {
                "logits/kernel": np.full((2, 2), 1e6, "float32"),
                "logits/bias": np.zeros(2, "float32"),
            }
        )
        if fits:
            kdzoo.zoo.load_weights(model, content)
            continue
        with pytest.raises(ValueError, match="more than float16 can hold"):
            kdzoo.zoo.load_weights(model, content)


def test_layers_of_one_name_in_nested_models_are_told_apart(tmp_path):
    def part(name):
        inputs = keras.Input((3,))
        return keras.Model(inputs, keras.layers.Dense(3, name="same")(inputs), name=name)

    inputs = keras.Input((3,))
    model = keras.Model(inputs, part("b")(part("a")(inputs)))
    kdzoo.zoo.save_weights(model, tmp_path / "w.safetensors")
    tensors = load((tmp_path / "w.safetensors").read_bytes())
    assert set(tensors) == {"a/same/kernel", "a/same/bias", "b/same/kernel", "b/same/bias"}
    expected = keras.ops.convert_to_numpy(model.get_layer("b").get_layer("same").kernel)
    np.testing.assert_array_equal(tensors["b/same/kernel"], expected)


class Twice(keras.layers.Layer):
    def build(self, shape):
        self.first = self.add_weight(shape=(2,), name="same")
        self.second = self.add_weight(shape=(2,), name="same")

    def call(self, x):
        return x + self.first + self.second


def test_two_weights_of_one_name_and_models_that_are_not_built(tmp_path):
    inputs = keras.Input((2,))
    for model, message in (
        (keras.Model(inputs, Twice(name="it")(inputs)), "two weights 'it/same'"),
        (keras.Sequential([keras.layers.Dense(2)]), "a model that is built"),
    ):
        with pytest.raises(ValueError, match=message):
            kdzoo.zoo.save_weights(model, tmp_path / "w.safetensors")
    assert not (tmp_path / "w.safetensors").exists()


def test_every_shipped_file_is_named_and_whole():
    """The manifest names each file there is, and each is as it says; 60 MB in all, 12 MB each."""
    directory, rows = weights_directory(), read_manifest()
    named = {file.file: file for row in rows.values() for file in row.files.values()}
    shipped = (".safetensors", ".tflite", ".kdz")
    there = {path.name for path in directory.iterdir() if path.suffix in shipped}
    assert there == set(named)
    for file in named.values():
        content = (directory / file.file).read_bytes()
        assert (hashlib.sha256(content).hexdigest(), len(content)) == (file.sha256, file.bytes)
        assert file.bytes <= 12e6
    assert sum(file.bytes for file in named.values()) <= 60e6


@pytest.mark.parametrize("name", list_pretrained())
def test_every_shipped_model_loads(name):
    row = read_manifest()[name]
    model = kdzoo.load(name)
    assert model.count_params() == row.measured["parameters"]
    assert model.input_shape[1:] == row.input_shape
    exits = len(row.measured.get("exits", [row.name]))
    assert [tuple(output.shape) for output in model.outputs] == [(None, len(row.labels))] * exits
    # Weights of the same shapes in another network would load as well.
    np.testing.assert_allclose(
        logits_of_ramp(model), row.measured["logits_of_ramp"], rtol=1e-3, atol=5e-3
    )


def test_lists_and_cards_need_no_keras():
    script = (
        "import sys, kdzoo_command\n"
        "sys.modules['keras.src'] = None\n"
        "sys.meta_path.insert(0, kdzoo_command.ImportsWhenUsed())\n"
        "import kdzoo\n"
        "print(kdzoo.card(kdzoo.list_pretrained()[0]), kdzoo.list_pairs(), kdzoo.list_models())"
    )
    root = pathlib.Path(kdzoo.__file__).parents[1]
    said = subprocess.run(
        [sys.executable, "-c", script], cwd=root, check=True, capture_output=True, text=True
    )
    for part in (f"# {list_pretrained()[0]}", "mnist_mlp_2x800", "separable_050"):
        assert part in said.stdout


@pytest.mark.parametrize(
    "change",
    [
        {"labels": ("crane", "crane")},
        {"name": "mlp_2x64/données"},
        {"arguments": {"units": 20_000}},
    ],
)
def test_what_is_written_is_read(zoo, change, tmp_path):
    (row,) = read_manifest(zoo).values()
    count = len(change.get("labels", row.labels))
    row = dataclasses.replace(row, classes=count, labels=row.labels[:count])
    row = dataclasses.replace(row, **change)
    write_manifest([row], tmp_path / "new")
    (again,) = read_manifest(tmp_path / "new").values()
    assert again == row


def test_a_row_that_nobody_could_read_is_not_written(zoo, tmp_path):
    (row,) = read_manifest(zoo).values()
    with pytest.raises(ValueError, match=r"rows of pretrained models\. Received: .*classes"):
        write_manifest([dataclasses.replace(row, classes=-1)], tmp_path / "new")
    assert not (tmp_path / "new").exists()
