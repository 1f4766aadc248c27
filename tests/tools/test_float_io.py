"""Files with integers at their ends get floats there, and the body between them stays."""

import dataclasses
import hashlib
import json
import zipfile

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

import kdzoo
from kdzoo.export import LiteRTModel, to_litert
from kdzoo.zoo.manifest import File, find, read_manifest, write_manifest
from tools import float_io

LABELS = ["Füchse", "dog", "a cat"]
NAME = "separable_025/cifar10/int8"


@pytest.fixture(scope="module")
def images():
    found = np.random.default_rng(0).random((100, 6, 6, 2), "float32")
    found[:, 0, 0] = 0, 1
    return found


@pytest.fixture(scope="module")
def old(images, tmp_path_factory):
    """The report of a file with int8 inputs and outputs, of a convolution and a dense layer."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, 6, 2))
    x = keras.layers.Flatten()(keras.layers.Conv2D(4, 3, activation="relu")(inputs))
    model = keras.Model(inputs, keras.layers.Dense(3, name="logits")(x))
    path = tmp_path_factory.mktemp("old") / "old.tflite"
    return to_litert(model, path, "int8", images, LABELS, io="int8", min_agreement=0)


def outputs(interpreter, arrays):
    """What an interpreter gives for arrays in the type that its file takes, one by one."""
    interpreter.allocate_tensors()
    runner = interpreter.get_signature_runner()
    [(taken, _)] = runner.get_input_details().items()
    return np.concatenate([runner(**{taken: array[None]})["logits"] for array in arrays])


@pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated")
def test_the_answers_are_those_of_the_old_file(old, images, tmp_path):
    import tensorflow as tf

    path = tmp_path / "new.tflite"
    path.write_bytes(float_io.with_float_io(old.path.read_bytes()))
    [taken], [given] = old.inputs, old.outputs
    integers = np.rint(images / np.float32(taken.scale)) + taken.zero_point
    integers = outputs(Interpreter(str(old.path)), np.clip(integers, -128, 127).astype("int8"))
    expected = (integers.astype("float32") - given.zero_point) * np.float32(given.scale)
    assert len(np.unique(expected)) > 20
    for interpreter in (Interpreter(str(path)), tf.lite.Interpreter(str(path))):
        found = outputs(interpreter, images)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, expected)


def test_all_else_stays(old, tmp_path):
    path, content = tmp_path / "new.tflite", old.path.read_bytes()
    path.write_bytes(float_io.with_float_io(content))
    file, before = LiteRTModel(path), LiteRTModel(old.path)
    assert file.labels == LABELS
    for ours, theirs in ((file.inputs, before.inputs), (file.outputs, before.outputs)):
        assert [(info.name, info.shape, info.range) for info in ours] == [
            (info.name, info.shape, info.range) for info in theirs
        ]
    metadata = []
    for where in (old.path, path):
        with zipfile.ZipFile(where) as archive:
            metadata.append(json.loads(archive.read("metadata.json")))
    assert metadata[1]["sha256"] != metadata[0].pop("sha256")
    assert {**metadata[0], "io": "float32", "sha256": metadata[1]["sha256"]} == metadata[1]
    assert len(content) < path.stat().st_size < len(content) + 2048
    tensors = Interpreter(str(path)).get_tensor_details()
    [kernel] = [tensor for tensor in tensors if tuple(tensor["shape"]) == (3, 64)]
    assert kernel["dtype"] == np.int8
    again = float_io.with_float_io(path.read_bytes())
    assert LiteRTModel(path).inputs[0].dtype == "float32"
    assert hashlib.sha256(again).digest() == hashlib.sha256(path.read_bytes()).digest()


def test_the_manifest_follows(old, tmp_path, capsys):
    row, content = find(NAME), old.path.read_bytes()
    (tmp_path / "old.tflite").write_bytes(content)
    files = {**row.files, "tflite": File("old.tflite", float_io.digest(content), len(content))}
    signature = float_io.signature_of(LiteRTModel(old.path))
    row = dataclasses.replace(row, files=files, measured={**row.measured, "signature": signature})
    write_manifest([row], tmp_path)
    directory = ["--directory", str(tmp_path)]
    assert float_io.main(["--check", *directory]) == 1
    assert (tmp_path / "old.tflite").exists()
    assert float_io.main(directory) == 0
    assert capsys.readouterr().out.split() == [NAME, NAME]
    assert float_io.main(["--check", *directory]) == 0

    new, path = read_manifest(tmp_path)[NAME], kdzoo.zoo.tflite(NAME, directory=tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["manifest.json", path.name]
    assert path.name == f"separable_025-cifar10-int8-{new.files['tflite'].sha256[:8]}.tflite"
    assert new.measured["signature"]["input"]["dtype"] == "float32"
    assert new.measured["bytes"][".tflite"] == path.stat().st_size
    changed = {"signature", "bytes"}
    assert {name for name in row.measured if row.measured[name] != new.measured[name]} == changed
    assert new.training == row.training
