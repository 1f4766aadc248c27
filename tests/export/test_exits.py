"""Networks of several exits in one LiteRT file."""

import keras
import numpy as np
import pytest

from kdzoo.dynamic import BudgetedClassifier, add_exits
from kdzoo.export import DynamicRunner, to_litert

pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).uniform(size=(64, 16, 16, 3)).astype("float32")


@pytest.fixture(scope="module")
def classifier(images):
    keras.utils.set_random_seed(0)
    layers = keras.layers
    inputs = keras.Input((16, 16, 3))
    x = layers.Conv2D(16, 3, 2, "same", activation="relu", name="one")(inputs)
    x = layers.Conv2D(32, 3, 2, "same", activation="relu", name="two")(x)
    shortcut = x
    x = layers.Conv2D(32, 3, 1, "same", activation="relu", name="three")(x)
    x = layers.Add()([x, shortcut])
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, layers.Dense(5, name="logits")(x))
    for weight in model.get_layer("logits").weights:
        weight.assign(40 * weight)
    exits = add_exits(model, at=["one", "two"])
    for name in ("exit1", "exit2"):
        for weight in exits.get_layer(name).weights:
            weight.assign(40 * weight)
    made = BudgetedClassifier(exits)
    labels = exits.predict(images, verbose=0)[-1].argmax(-1)
    made.fit(images, labels, budget=float(np.mean(made.costs)))
    return made


@pytest.mark.parametrize("quantize", [None, "int8"])
def test_a_file_of_exits_stops_where_keras_stops(classifier, images, quantize, tmp_path):
    path = tmp_path / "exits.tflite"
    report = to_litert(classifier, path, quantize, images, labels=list("abcde"))
    assert [output.name for output in report.outputs_verified] == ["exit1", "exit2", "exit3"]
    runner = DynamicRunner(path)
    assert runner.thresholds == classifier.thresholds
    assert runner.labels == list("abcde")
    found, expected = runner.predict(images), classifier.predict(images)
    if quantize is None:
        assert report.max_abs_difference < 1e-4
        assert np.array_equal(found.exits, expected.exits)
        np.testing.assert_allclose(found.logits, expected.logits, atol=1e-4)
        assert set(found.exits) == {1, 2, 3}
    else:
        assert (found.exits == expected.exits).mean() > 0.8
        assert report.inputs[0].dtype == "float32"
    assert (found.milliseconds > 0).all()
    assert (DynamicRunner(path, thresholds=[0, 0]).predict(images).exits == 1).all()
    assert (DynamicRunner(path, thresholds=[2, 2]).predict(images).exits == 3).all()


def test_samples_of_a_batch_stop_one_by_one(classifier, images, tmp_path):
    to_litert(classifier, tmp_path / "exits.tflite", batch_size=5)
    found = DynamicRunner(tmp_path / "exits.tflite").predict(images)
    expected = classifier.predict(images)
    assert np.array_equal(found.exits, expected.exits)
    np.testing.assert_allclose(found.logits, expected.logits, atol=1e-4)


def test_mixed_precision_is_written_in_float32(tmp_path):
    keras.utils.set_random_seed(0)
    policy = keras.dtype_policies.DTypePolicy("mixed_bfloat16")
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(6, "relu", name="one", dtype=policy),
            keras.layers.Dense(6, "relu", name="two", dtype=policy),
            keras.layers.Dense(3, name="logits", dtype="float32"),
        ]
    )
    classifier = BudgetedClassifier(add_exits(model, at=["one"]))
    classifier.thresholds = [0.4]
    report = to_litert(classifier, tmp_path / "exits.tflite")
    assert report.max_abs_difference < 1e-4
    runner = DynamicRunner(tmp_path / "exits.tflite")
    assert runner.predict(np.ones((3, 4), "float32")).logits.shape == (3, 3)


def test_exits_cost_few_bytes(classifier, images, tmp_path):
    alone = to_litert(_last_exit_alone(classifier), tmp_path / "alone.tflite").bytes
    together = to_litert(classifier, tmp_path / "exits.tflite").bytes
    assert together < alone + 4 * (16 * 5 + 5 + 32 * 5 + 5) + 4500


def _last_exit_alone(classifier):
    """The network without its first exits."""
    carried = classifier.parts[0].input
    for part in classifier.parts:
        logits, *carried = keras.tree.flatten(part(carried))
        carried = carried[0] if len(carried) == 1 else carried
    return keras.Model(classifier.parts[0].input, logits)


def test_wrong_files_and_arguments(classifier, images, tmp_path):
    path = tmp_path / "exits.tflite"
    plain = _last_exit_alone(classifier)
    to_litert(plain, path)
    with pytest.raises(ValueError, match="of several exits"):
        DynamicRunner(path)
    without = BudgetedClassifier(_two_exits())
    to_litert(without, path)
    with pytest.raises(ValueError, match="call `fit`"):
        DynamicRunner(path)
    assert DynamicRunner(path, thresholds=[0.5]).confidence == "max_probability"
    with pytest.raises(ValueError, match="1 thresholds"):
        DynamicRunner(path, thresholds=[0.5, 0.5])
    with pytest.raises(ValueError, match="sparse"):
        to_litert(without, path, sparse=True)
    with pytest.raises(ValueError, match=r"shape \(samples, 4\)"):
        DynamicRunner(path, thresholds=[0.5]).predict(np.zeros((2, 5)))


def _two_exits():
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(3, "relu", name="one"),
            keras.layers.Dense(2, name="logits"),
        ]
    )
    return add_exits(model, at=["one"])
