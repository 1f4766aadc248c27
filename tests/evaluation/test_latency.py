"""Latency: what is measured and what is said about it; the numbers themselves are the machine's."""

import types

import keras
import pytest

from kdzoo.evaluation import Latency, latency
from kdzoo.evaluation.latency import machine_name


@pytest.fixture
def path(tmp_path):
    """Returns a small LiteRT file."""
    import tensorflow as tf

    model = keras.Sequential([keras.Input((4,), batch_size=2), keras.layers.Dense(3)])
    path = tmp_path / "model.tflite"
    path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
    return path


@pytest.mark.tensorflow
def test_a_file(path):
    for model in (path, str(path), types.SimpleNamespace(path=path)):
        found = latency(model, threads=2, runs=20, warmup=1)
        assert 0 < found.q1_ms <= found.median_ms <= found.q3_ms
        assert (found.threads, found.runs, found.batch_size) == (2, 20, 2)
        assert found.machine == machine_name()


def test_it_says_what_was_measured():
    found = Latency(1.2345, 1.0, 2.5, threads=1, runs=9, batch_size=1, machine="Sample CPU")
    assert found.iqr_ms == 1.5
    assert str(found) == "1.23 ms (quartiles 1 to 2.5, 9 runs, batch 1, 1 thread, Sample CPU)"


def test_machine_has_a_name():
    assert machine_name()


def test_errors(tmp_path):
    for wrong in ({"threads": 0}, {"runs": 0}, {"warmup": -1}, {"runs": 1.5}):
        with pytest.raises(ValueError, match=f"Expected {next(iter(wrong))} to be an integer"):
            latency(tmp_path / "model.tflite", **wrong)
    with pytest.raises(FileNotFoundError, match="not a file"):
        latency(tmp_path / "missing.tflite")
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(b"no flatbuffer at all, but long enough to look at")
    with pytest.raises(ValueError, match="the interpreter refused"):
        latency(broken)
