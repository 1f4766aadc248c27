"""Binary weights as a bit a number: bytes on disk, and the values that come back."""

import json

import keras
import numpy as np
import pytest
import safetensors.numpy

import kdzoo
from kdzoo.compression import binarize, strip_binarization

LAYERS = keras.layers


def net():
    inputs = keras.Input((9, 9, 4))
    x = LAYERS.Conv2D(8, 3, strides=2, use_bias=False, name="conv")(inputs)
    x = LAYERS.BatchNormalization(name="norm")(x)
    x = LAYERS.Flatten(name="flat")(x)
    return keras.Model(inputs, LAYERS.Dense(5, name="logits")(x), name="net")


@pytest.fixture(scope="module", params=["deterministic", "xnor"])
def plain(request):
    keras.utils.set_random_seed(0)
    return strip_binarization(binarize(net(), method=request.param)[0])


def bytes_in(path):
    """Name -> bytes of the arrays in a safetensors file, from its header."""
    content = path.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    offsets = {name: part["data_offsets"] for name, part in header.items()}
    return {name: end - start for name, (start, end) in offsets.items()}


def test_kernels_take_a_bit_a_weight_and_come_back(plain, tmp_path):
    path, whole = tmp_path / "packed.safetensors", tmp_path / "whole.safetensors"
    _, size = kdzoo.zoo.save_weights(plain, path, dtype="binary")
    kdzoo.zoo.save_weights(plain, whole)
    ours, theirs = bytes_in(path), bytes_in(whole)
    for kernel in ("conv/kernel", "logits/kernel"):
        assert 32 * ours[f"{kernel}.signs"] == theirs[kernel]
    scales = {name: size for name, size in ours.items() if name.endswith(".scale")}
    is_scaled = set(np.unique(np.abs(plain.get_layer("conv").get_weights()[0]))) != {1}
    assert scales == ({"conv/kernel.scale": 32, "logits/kernel.scale": 20} if is_scaled else {})
    rest = {name: size for name, size in ours.items() if "kernel" not in name}
    assert rest == {name: size for name, size in theirs.items() if "kernel" not in name}
    assert size == path.stat().st_size < whole.stat().st_size
    again = net()
    kdzoo.zoo.load_weights(again, path)
    for found, wanted in zip(again.get_weights(), plain.get_weights(), strict=True):
        assert found.tobytes() == wanted.tobytes()


def test_the_bits_are_those_of_the_format(plain, tmp_path):
    path = tmp_path / "packed.safetensors"
    kdzoo.zoo.save_weights(plain, path, dtype="binary")
    kernel = plain.get_layer("conv").get_weights()[0].reshape(-1)
    byte = safetensors.numpy.load_file(path)["conv/kernel.signs"][3]
    assert [bool(byte >> (7 - bit) & 1) for bit in range(8)] == (kernel[24:32] > 0).tolist()


def test_a_directory_of_a_model_has_them_too(plain, tmp_path):
    kdzoo.save_pretrained(plain, tmp_path / "net", dtype="binary")
    x = np.random.default_rng(0).random((2, 9, 9, 4), "float32")
    again = kdzoo.load_pretrained(tmp_path / "net")
    np.testing.assert_array_equal(*(keras.ops.convert_to_numpy(m(x)) for m in (plain, again)))
    (file,) = (tmp_path / "net").glob("*.safetensors")
    assert "logits/kernel.signs" in bytes_in(file)


def test_numbers_that_fill_no_byte_and_other_weights(tmp_path):
    inputs = keras.Input((3,))
    outputs = LAYERS.Dense(3, name="a")(LAYERS.Dense(3, name="b")(inputs))
    model, path = keras.Model(inputs, outputs), tmp_path / "a.safetensors"
    model.layers[1].kernel.assign([[1, -1, 1], [-1, -1, -1], [1, 1, 1]])
    kdzoo.zoo.save_weights(model, path, dtype="binary")
    assert bytes_in(path) == {"b/kernel.signs": 2, "b/bias": 12, "a/kernel": 36, "a/bias": 12}
    again = keras.models.clone_model(model)
    kdzoo.zoo.load_weights(again, path)
    for found, wanted in zip(again.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(found, wanted)
    for damage in (
        {"b/kernel.signs": np.zeros(3, "uint8")},
        {"b/kernel.signs": np.zeros(2, "int8")},
        {"b/kernel.signs": np.array([0, 1], "uint8")},
        {"b/kernel.scale": np.ones(2, "float32")},
        {"b/kernel.scale": np.full(3, np.nan, "float32")},
    ):
        tensors = {**safetensors.numpy.load_file(path), **damage}
        with pytest.raises(ValueError, match="b/kernel"):
            kdzoo.zoo.load_weights(again, safetensors.numpy.save(tensors))
    model.layers[1].kernel.assign([[1, -1, 0], [-1, -1, 0], [1, 1, 0]])
    with pytest.raises(ValueError, match="without one"):
        kdzoo.zoo.save_weights(model, path, dtype="binary")


@pytest.mark.tensorflow  # JAX has no float64 by default.
@pytest.mark.parametrize("scale", [0.1, 0.5, 1e300])
def test_scales_of_float64_come_back(scale, tmp_path):
    """A half is a float32, too; a tenth is none."""
    layers = [LAYERS.Dense(3, use_bias=False, name=name, dtype="float64") for name in "ab"]
    model, path = keras.Sequential([keras.Input((3,)), *layers]), tmp_path / "a.safetensors"
    signs = np.where(np.eye(3), 1.0, -1.0)
    model.set_weights([scale * signs, signs])
    kdzoo.zoo.save_weights(model, path, dtype="binary")
    assert ("a/kernel.signs" in bytes_in(path)) == (scale == 0.5)
    model.set_weights([signs, signs])
    kdzoo.zoo.load_weights(model, path)
    np.testing.assert_array_equal(model.get_weights()[0], scale * signs)
