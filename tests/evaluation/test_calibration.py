"""Expected calibration error, against the definition in NumPy and cases done by hand."""

import keras
import numpy as np
import pytest

from kdzoo.evaluation import calibration_error


class Table:
    """A model whose outputs are its inputs."""

    def predict(self, x):
        return x


def reference(logits, labels, bins):
    """Guo et al. 2017, equation 3, sample by sample."""
    probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    total = 0.0
    for k in range(bins):
        low, high = k / bins, (k + 1) / bins
        members = [i for i in range(len(probs)) if low < probs[i].max() <= high]
        if members:
            right = np.mean([probs[i].argmax() == labels[i] for i in members])
            sure = np.mean([probs[i].max() for i in members])
            total += len(members) / len(probs) * abs(right - sure)
    return total


@pytest.mark.parametrize("bins", [1, 10, 15])
@pytest.mark.parametrize("batch_size", [7, 128])
def test_the_definition(bins, batch_size):
    rng = np.random.default_rng(0)
    logits, labels = 2 * rng.normal(size=(200, 4)).astype("float32"), rng.integers(0, 4, 200)
    found = calibration_error(Table(), logits, labels, bins=bins, batch_size=batch_size)
    assert found == pytest.approx(reference(logits.astype("float64"), labels, bins), rel=1e-6)
    one_hot = np.eye(4)[labels]
    assert calibration_error(Table(), logits, one_hot, bins=bins) == pytest.approx(found, rel=1e-9)
    batches = [(logits[:120], labels[:120]), (logits[120:], labels[120:])]
    assert calibration_error(Table(), batches, bins=bins) == pytest.approx(found, rel=1e-9)


def test_by_hand():
    sure = np.array([[100.0, 0.0]] * 4, "float32")
    assert calibration_error(Table(), sure, np.array([0, 0, 0, 0])) == pytest.approx(0)
    assert calibration_error(Table(), sure, np.array([1, 1, 1, 1])) == pytest.approx(1)
    assert calibration_error(Table(), sure, np.array([0, 0, 1, 1])) == pytest.approx(0.5)
    # Even odds, right half of the time: calibrated.
    even = np.zeros((4, 2), "float32")
    assert calibration_error(Table(), even, np.array([0, 0, 1, 1])) == pytest.approx(0)


def test_softmax_outputs_give_the_numbers_of_their_logits():
    rng = np.random.default_rng(0)
    logits, labels = 3 * rng.normal(size=(300, 4)).astype("float32"), rng.integers(0, 4, 300)
    labels = np.where(rng.random(300) < 0.6, logits.argmax(1), labels)
    likely = (np.exp(logits) / np.exp(logits).sum(1, keepdims=True)).astype("float32")
    expected = reference(logits.astype("float64"), labels, 15)
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Softmax()(inputs))
    for found in (
        calibration_error(Table(), likely, labels, batch_size=7),
        calibration_error(model, logits, labels),
        calibration_error(Table(), likely, labels, from_logits=False),
    ):
        assert found == pytest.approx(expected, abs=1e-5)
    # Positions are samples.
    found = calibration_error(Table(), likely.reshape(30, 10, 4), labels.reshape(30, 10))
    assert found == pytest.approx(expected, abs=1e-5)


def test_answers_of_yes_and_no_are_two_classes():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (200, 1)).astype("float32")
    labels = rng.integers(0, 2, 200)
    two = np.concatenate([np.zeros_like(logits), logits], axis=1).astype("float64")
    expected = reference(two, labels, 15)
    inputs = keras.Input((1,))
    model = keras.Model(inputs, keras.layers.Activation("sigmoid")(inputs))
    assert calibration_error(model, logits, labels) == pytest.approx(expected, abs=1e-6)
    found = calibration_error(Table(), logits, labels, output_type="binary")
    assert found == pytest.approx(expected, abs=1e-6)


def test_errors():
    logits = np.zeros((4, 2), "float32")
    with pytest.raises(ValueError, match="labels beside the samples"):
        calibration_error(Table(), logits)
    with pytest.raises(ValueError, match="at least two classes"):
        calibration_error(Table(), logits[:, :1], np.zeros(4))
    for wrong in (np.full(4, 2), np.full(4, 0.5), np.zeros((4, 3))):
        with pytest.raises(ValueError, match="labels"):
            calibration_error(Table(), logits, wrong)
    with pytest.raises(ValueError, match="bins"):
        calibration_error(Table(), logits, np.zeros(4), bins=0)
    with pytest.raises(ValueError, match="at least one sample"):
        calibration_error(Table(), logits[:0], np.zeros(0))


def test_a_softmax_in_steps_of_an_int8_file_is_no_logits():
    rng = np.random.default_rng(0)
    logits, labels = 2 * rng.normal(size=(400, 10)), rng.integers(0, 10, 400)
    likely = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    stepped = (np.minimum(np.round(likely * 256), 255) / 256).astype("float32")
    found = calibration_error(Table(), stepped, labels)
    assert found == pytest.approx(reference(logits, labels, 15), abs=0.02)
