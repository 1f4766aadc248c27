"""Slimmable networks in one LiteRT file, a signature for each width."""

import json
import zipfile

import keras
import numpy as np
import pytest

from kdzoo.dynamic import Slimmable
from kdzoo.evaluation import latency
from kdzoo.export import LiteRTModel, to_litert
from kdzoo.export.runner import costs_of

pytestmark = pytest.mark.tensorflow
NAMES = {0.3125: "width_03125", 0.5: "width_050", 1.0: "width_100"}


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).uniform(size=(48, 16, 16, 3)).astype("float32")


@pytest.fixture(scope="module")
def slimmable(images):
    keras.utils.set_random_seed(0)
    inputs = x = keras.Input((16, 16, 3))
    for filters in (16, 32):
        x = keras.layers.Conv2D(filters, 3, 2, "same", use_bias=False)(x)
        x = keras.layers.BatchNormalization()(x)
        x = keras.layers.ReLU()(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(5, name="logits")(x))
    made = Slimmable(model, tuple(NAMES), round_to=1)
    made.calibrate(images)
    return made


@pytest.fixture(scope="module")
def path(slimmable, images, tmp_path_factory):
    path = tmp_path_factory.mktemp("widths") / "slimmable.tflite"
    to_litert(slimmable, path, representative_data=images, labels=list("abcde"))
    return path


def test_each_width_is_a_signature(slimmable, images, path):
    file = LiteRTModel(path)
    assert set(file.signatures) == set(NAMES.values())
    assert file.labels == list("abcde")
    for width, name in NAMES.items():
        one = file.with_signature(name)
        assert [info.name for info in one.outputs] == ["logits"]
        expected = slimmable(images, width=width)
        np.testing.assert_allclose(one.predict(images), expected, atol=1e-4)
        opened = LiteRTModel(path, signature=name)
        assert opened.signature == name
        np.testing.assert_array_equal(opened.predict(images[:2]), one.predict(images[:2]))
    with zipfile.ZipFile(path) as archive:
        told = json.loads(archive.read("metadata.json"))["signatures"]
    assert told == ["width_100", "width_050", "width_03125"]


def test_what_runs_where_none_is_named_is_the_largest(slimmable, images, path):
    file = LiteRTModel(path)
    assert file.signature == "width_100"
    np.testing.assert_allclose(file.predict(images), slimmable(images), atol=1e-4)
    macs = [costs_of(file.with_signature(name)).macs for name in NAMES.values()]
    # By hand: 8x8 maps of the first convolution, 4x4 of the second, the logits.
    assert macs == [64 * 27 * n + 16 * 9 * n * 2 * n + 2 * n * 5 for n in (5, 8, 16)]
    assert costs_of(file).macs == macs[-1]


def test_a_width_is_timed(path):
    for name in NAMES.values():
        assert latency(path, runs=3, warmup=0, signature=name).median_ms > 0
    assert latency(LiteRTModel(path, signature="width_050"), runs=3, warmup=0).batch_size == 1
    with pytest.raises(ValueError, match=r"'width_0\.5'.*width_050"):
        latency(path, signature="width_0.5")


def test_integers_of_each_width(slimmable, images, tmp_path):
    report = to_litert(slimmable, tmp_path / "s.tflite", "int8", images, batch_size=5)
    assert [output.name for output in report.outputs_verified] == sorted(NAMES.values())
    file = LiteRTModel(report.path)
    for width, name in NAMES.items():
        one = file.with_signature(name)
        expected = np.asarray(slimmable(images, width=width))
        np.testing.assert_allclose(one.predict(images), expected, atol=0.1 * np.ptp(expected))
        # float32 at the ends: the range is that of the integers behind, read for each signature.
        assert one.inputs[0].range == pytest.approx((0, 1), abs=0.02)
        with pytest.raises(ValueError, match="by 255"):
            one.predict(255 * images)
    steps = {info.name: info.step for info in report.outputs}
    assert steps["width_050"] == file.with_signature("width_050").outputs[0].step
    assert len(set(steps.values())) == 3


def test_widths_share_no_weights(path):
    """Slices are constants of their own, and factors of normalizations are folded into them."""
    numbers = [27 * n + n + 9 * n * 2 * n + 2 * n + 2 * n * 5 + 5 for n in (5, 8, 16)]
    assert 4 * sum(numbers) < path.stat().st_size < 4 * sum(numbers) + 3 * 3500


def test_several_inputs_and_outputs(tmp_path):
    inputs = [keras.Input((4,), name="b"), keras.Input((3,), name="a")]
    x = keras.layers.Concatenate()([keras.layers.Dense(16)(tensor) for tensor in inputs])
    outputs = [keras.layers.Dense(units, name=name)(x) for units, name in ((2, "u"), (3, "v"))]
    slimmable = Slimmable(keras.Model(inputs, outputs), (0.5, 1.0))
    report = to_litert(slimmable, tmp_path / "s.tflite")
    assert [info.name for info in report.outputs] == [
        *("width_050/u", "width_050/v", "width_100/u", "width_100/v"),
    ]
    file = LiteRTModel(report.path, signature="width_050")
    given = [np.ones((2, 4), "float32"), np.full((2, 3), 2, "float32")]
    found = file.predict(dict(zip("ba", given, strict=True)))
    for name, expected in zip("uv", slimmable(given, width=0.5), strict=True):
        np.testing.assert_allclose(found[name], expected, atol=1e-4)
    assert [info.name for info in file.inputs] == [
        info.name for info in LiteRTModel(report.path).inputs
    ]


@pytest.mark.parametrize("signatures", [5, [], [7], ["width_075"], {"width_100": 1}])
def test_what_a_file_says_of_its_signatures_is_not_trusted(signatures, path, tmp_path):
    other = tmp_path / "other.tflite"
    with zipfile.ZipFile(path) as archive:
        end = min(member.header_offset for member in archive.infolist())
        told = json.loads(archive.read("metadata.json"))
        labels = archive.read("labels.txt")
    other.write_bytes(path.read_bytes()[:end])
    with zipfile.ZipFile(other, "a") as archive:
        archive.writestr("metadata.json", json.dumps({**told, "signatures": signatures}))
        archive.writestr("labels.txt", labels)
    file = LiteRTModel(other)
    assert file.signature is None
    assert file.outputs[0].shape == (1, 5)
    with pytest.raises(ValueError, match="Did you mean 'width_050'"):
        file.with_signature("width_05")
