"""Samples come from all over the data, and others verify than calibrate."""

import itertools

import keras
import numpy as np
import pytest

from kdzoo.export import LiteRTModel, to_litert
from kdzoo.export.samples import draw_samples
from kdzoo.export.signature import input_specs

pytestmark = pytest.mark.tensorflow
NUMBERS = np.arange(1000, dtype="float32")[:, None]


@pytest.fixture
def model():
    inputs = keras.Input((1,), name="x")
    return keras.Model(inputs, keras.layers.Dense(2)(inputs))


def draw(data, model, limit=100, calibrates=False, batch_size=1):
    drawn = draw_samples(data, model, input_specs(model, batch_size), limit, calibrates=calibrates)
    parts = [part for part in (drawn.verification, drawn.calibration) if part is not None]
    return [part[0][:, 0].astype(int).tolist() for part in parts]


def spread_over(numbers, count):
    """Whether numbers below `count` are of every tenth of them."""
    return set(np.array(numbers) * 10 // count) == set(range(10))


class Batches(keras.utils.PyDataset):
    def __init__(self, size, count):
        super().__init__()
        self.size, self.count = size, count

    def __len__(self):
        return self.count // self.size

    def __getitem__(self, index):
        start = self.size * index
        return np.arange(start, start + self.size, dtype="float32")[:, None], None


def test_an_array_is_drawn_from_everywhere_and_in_halves(model):
    verifying, calibrating = draw(NUMBERS, model, calibrates=True)
    assert len(set(verifying + calibrating)) == 200
    for part in (verifying, calibrating):
        assert part == sorted(part)
        assert spread_over(part, 1000)
    # Batches that come around in tens do not fall together with the choice.
    assert len({number % 10 for number in draw(NUMBERS, model)[0]}) == 10


@pytest.mark.parametrize(
    ("count", "batch_size", "halves"),
    [(40, 1, (20, 20)), (41, 1, (20, 21)), (20, 16, (4, 16)), (16, 16, (16, 16)), (1, 1, (1, 1))],
)
def test_too_few_samples_are_halved(count, batch_size, halves, model):
    verifying, calibrating = draw(NUMBERS[:count], model, 128, True, batch_size)
    assert (len(verifying), len(calibrating)) == halves
    assert set(verifying + calibrating) == set(range(count))


def test_lists_and_datasets_are_drawn_from_everywhere_however_long(model):
    for data in (Batches(10, 100_000), list(np.arange(100_000, dtype="float32")[:, None])):
        (found,) = draw(data, model)
        assert len(set(found)) == 100
        assert spread_over(found, 100_000)


def test_of_a_stream_the_first_are_read_and_drawn_from(model):
    read = []

    def endless():
        for number in itertools.count():
            read.append(number)
            yield np.full((1, 1), number, "float32"), None

    for data in (endless(), endless):
        read.clear()
        (found,) = draw(data, model, 10)
        assert len(read) == 40
        assert len({number * 5 // 40 for number in found}) >= 4


def test_samples_that_are_all_alike(model, tmp_path):
    zeros = np.zeros((30, 1), "float32")
    with pytest.raises(ValueError, match=r"differ from one another.*30 samples that are all alike"):
        to_litert(model, tmp_path / "x.tflite", "int8", zeros)
    with pytest.warns(UserWarning, match="which verify little") as caught:
        to_litert(model, tmp_path / "x.tflite", None, zeros)
    assert caught[0].filename == __file__


def test_an_input_whose_samples_are_all_alike(tmp_path):
    a, b = keras.Input((2,), name="a"), keras.Input((2,), name="b")
    model = keras.Model([a, b], keras.layers.Dense(2)(keras.layers.Concatenate()([a, b])))
    varied, zeros = np.random.default_rng(0).random((60, 2)), np.zeros((60, 2))
    with pytest.warns(UserWarning, match="60 samples that are all alike in 'b'") as caught:
        to_litert(model, tmp_path / "x.tflite", "int8", [varied, zeros], output_type="numbers")
    assert caught[0].filename == __file__
    mask = keras.Input((2,), name="mask", dtype="int32")
    model = keras.Model([a, mask], a * keras.ops.cast(mask, "float32"))
    draw_samples([varied, np.ones((60, 2))], model, input_specs(model, 1), 20)


def test_samples_sorted_by_class_calibrate_and_verify_for_all_of_them(tmp_path):
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 200)
    # Each class lies higher than the one before: from the first alone, the others are cut off.
    x = (rng.random((600, 4)) + 3 * labels[:, None]).astype("float32")
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(3)(inputs))
    model.set_weights([np.array([[0.0, 1.0, 2.0]] * 4), np.array([0.0, -8.0, -28.0])])
    report = to_litert(model, tmp_path / "x.tflite", "int8", x)
    assert (report.samples, report.calibration_samples) == (128, 128)
    found = LiteRTModel(report.path).predict(x).argmax(-1)
    assert np.mean(found == model.predict(x, verbose=0).argmax(-1)) > 0.97
    assert report.argmax_agreement > 0.97


def test_a_file_calibrated_on_one_class_is_refused_by_the_others(model, tmp_path, monkeypatch):
    inputs = keras.Input((1,))
    model = keras.Model(inputs, keras.layers.Dense(2)(inputs))
    model.set_weights([np.array([[1.0, -1.0]]), np.array([0.0, 1000.0])])  # Changes at 500.
    from kdzoo.export import forms

    convert = forms.convert
    monkeypatch.setattr(
        forms, "convert", lambda *args: convert(*args[:3], [NUMBERS[:400]], *args[4:])
    )
    with pytest.raises(RuntimeError, match="Keras's argmax"):
        to_litert(model, tmp_path / "x.tflite", "int8", NUMBERS)


def test_two_inputs_in_every_structure():
    first, second = keras.Input((1,), name="a"), keras.Input((2,), name="b")
    model = keras.Model([first, second], keras.layers.Concatenate()([first, second]))
    a = NUMBERS[:400]  # No more than are read of a stream.
    b = np.concatenate([a, a], axis=1)
    expected = draw([a, b], model)
    both = [(a[i : i + 1], b[i : i + 1]) for i in range(len(b))]
    for data in (
        {"a": a, "b": b},
        both,
        [list(pair) for pair in both],
        [(pair, 0) for pair in both],
        lambda: iter(both),
    ):
        assert draw(data, model) == expected
    with pytest.raises(ValueError, match=r"as many samples for each input.*\[400, 399\]"):
        draw([a, b[:399]], model)


@pytest.mark.parametrize("structure", ["array", "generator", "function"])
def test_open_sizes_are_those_of_the_samples(structure, tmp_path):
    inputs = keras.Input((None, None, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(inputs))
    model = keras.Model(inputs, keras.layers.Dense(3)(x))
    images = np.random.default_rng(0).random((60, 8, 6, 3)).astype("float32")
    data = {
        "array": images,
        "generator": ((image, 0) for image in images),
        "function": lambda: ([image[None]] for image in images),
    }[structure]
    report = to_litert(model, tmp_path / "x.tflite", "int8", data)
    assert report.inputs[0].shape == (1, 8, 6, 3)
    assert report.samples + report.calibration_samples == 60  # None is lost.
    with pytest.raises(ValueError, match=r"samples, 8, 6, 3.*shape=\(5, 6, 3\)"):
        to_litert(model, tmp_path / "x.tflite", None, [images[0], images[0, :5]])
