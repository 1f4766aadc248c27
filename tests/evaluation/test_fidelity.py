"""Agreement and divergence by hand."""

import numpy as np
import pytest

from kdzoo.evaluation import agreement, fidelity


class Table:
    """Returns a fixed row of logits for each sample's index."""

    def __init__(self, logits):
        self.logits = np.array(logits, "float32")

    def predict(self, x):
        return self.logits[np.asarray(x)[:, 0].astype(int)]


INDEX = np.arange(2)[:, None]


def test_equal_models():
    model = Table([[1, 2, 5], [7, 0, 1e4]])
    found = fidelity(model, model, INDEX)
    assert (found.agreement, found.kl_divergence, found.samples) == (1.0, 0.0, 2)


def test_by_hand():
    teacher, student = Table([[1, 2, 5], [0, 0, 1]]), Table([[0.5, 2.5, 0], [0, 0, 1]])
    # T^2 KL is 3.194177 at T=3 for the first sample, and 0 for the second.
    found = fidelity(teacher, student, INDEX, temperature=3.0)
    assert found.kl_divergence == pytest.approx(3.194177 / 9 / 2, rel=1e-6)
    assert found.agreement == agreement(teacher, student, INDEX) == 0.5


def test_one_logit():
    found = fidelity(Table([[0.0], [2.0]]), Table([[0.0], [-2.0]]), INDEX)
    p = 1 / (1 + np.exp(-2))
    assert found.agreement == 0.5
    expected = (p * np.log(p / (1 - p)) + (1 - p) * np.log((1 - p) / p)) / 2
    assert found.kl_divergence == pytest.approx(expected)


def test_labels_of_a_dataset_are_not_used():
    model = Table([[0, 1], [1, 0]])
    assert agreement(model, model, [(INDEX, None), (INDEX, np.array([0, 99]))]) == 1.0


def test_errors():
    two, three = Table([[0, 1], [1, 0]]), Table([[0, 1, 2], [1, 0, 3]])
    with pytest.raises(ValueError, match=r"same classes.*\(2, 2\) and \(2, 3\)"):
        fidelity(two, three, INDEX)
    steps = Table(np.zeros((2, 10, 3)))
    with pytest.raises(ValueError, match=r"one row of logits for each sample.*shape \(2, 10, 3\)"):
        agreement(steps, steps, INDEX)
    with pytest.raises(ValueError, match="temperature > 0"):
        fidelity(two, two, INDEX, temperature=0)
    with pytest.raises(ValueError, match="at least one sample"):
        agreement(two, two, INDEX[:0])


def test_a_temperature_may_be_an_array_without_axes():
    model = Table([[1, 2, 5], [7, 0, 1]])
    assert fidelity(model, model, INDEX, temperature=np.array(2.0)).agreement == 1
