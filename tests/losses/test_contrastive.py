"""Contrastive representation distillation against the authors' code, followed in NumPy, float64."""

import keras
import numpy as np
import pytest
from keras import ops

from kdzoo import losses

EXAMPLES, NEGATIVES, DIMENSIONS = 40, 7, 5
LABELS = np.random.default_rng(0).integers(0, 4, EXAMPLES)


@pytest.fixture
def make():
    """Makes a built loss on features of widths 6 and 3."""

    def build(examples=EXAMPLES, **arguments):
        arguments = {"dimensions": DIMENSIONS, "negatives": NEGATIVES, **arguments}
        loss = losses.ContrastiveRepresentation(examples, **arguments)
        loss.build((None, 6), (None, 3))
        return loss

    return build


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def numpy_noise_contrastive(scores, examples):
    noise, epsilon = (scores.shape[1] - 1) / examples, 1e-7
    right = np.log(scores[:, 0] / (scores[:, 0] + noise + epsilon))
    wrong = np.log(noise / (scores[:, 1:] + noise + epsilon))
    return -(right + wrong.sum(1))


class NumpyMemory:
    """RepDistiller's ContrastMemory and CRDLoss, with the negatives given."""

    def __init__(self, loss):
        read = lambda weight: np.asarray(ops.convert_to_numpy(weight), "float64")  # noqa: E731
        self.banks = {role: read(bank) for role, bank in loss.banks.items()}
        self.layers = {
            role: (read(layer.kernel), read(layer.bias)) for role, layer in loss.projections.items()
        }
        self.z = {}

    def __call__(self, features, chosen):
        embeddings = {
            role: unit(features[role] @ kernel + bias)
            for role, (kernel, bias) in self.layers.items()
        }
        total = 0
        for role, other in (("student", "teacher"), ("teacher", "student")):
            rows = self.banks[other][chosen]
            out = np.exp(np.einsum("bkd,bd->bk", rows, embeddings[role]) / 0.07)
            self.z.setdefault(role, out.mean() * EXAMPLES)
            total = total + numpy_noise_contrastive(out / self.z[role], EXAMPLES)
        for role, embedding in embeddings.items():
            index = chosen[:, 0]
            self.banks[role][index] = unit(0.5 * self.banks[role][index] + 0.5 * embedding)
        return total


@pytest.fixture
def batches():
    rng = np.random.default_rng(1)
    return [
        (rng.normal(size=(4, 6)), rng.normal(size=(4, 3)), rng.permutation(EXAMPLES)[:4])
        for _ in range(3)
    ]


def with_known_negatives(loss, monkeypatch, seed=2):
    """Replaces the draw by one that the test knows, and returns the list of what was drawn."""
    rng, drawn = np.random.default_rng(seed), []

    def draw(indices):
        drawn.append(rng.integers(0, EXAMPLES, (len(indices), NEGATIVES)).astype("int32"))
        return ops.convert_to_tensor(drawn[-1])

    monkeypatch.setattr(loss, "_draw", draw)
    return drawn


@pytest.mark.parametrize("fetching", [0, 8], ids=["rows fetched", "whole bank"])
def test_three_steps_equal_the_authors_code(make, batches, monkeypatch, fetching):
    monkeypatch.setattr("kdzoo.losses.contrastive._FETCHING", fetching)
    loss = make()
    expected, drawn = NumpyMemory(loss), with_known_negatives(loss, monkeypatch)
    for teacher, student, index in batches:
        value = ops.convert_to_numpy(loss(teacher, student, indices=index))
        chosen = np.concatenate([index[:, None], drawn[-1]], axis=1)
        features = {"teacher": teacher, "student": student}
        np.testing.assert_allclose(value, expected(features, chosen), rtol=1e-5)
    for role, bank in loss.banks.items():
        np.testing.assert_allclose(ops.convert_to_numpy(bank), expected.banks[role], rtol=1e-4)


def test_the_gradient_equals_finite_differences(
    make, batches, monkeypatch, gradient_of, finite_differences
):
    loss = make()
    drawn = with_known_negatives(loss, monkeypatch)
    teacher, student, index = batches[0]
    loss(teacher, student, indices=index)  # Sets Z, which the authors do not differentiate.
    memory = NumpyMemory(loss)
    memory.z = {role: float(z) for role, z in loss.normalizers.items()}
    banks = {role: bank.copy() for role, bank in memory.banks.items()}
    chosen = np.concatenate([index[:, None], drawn[-1]], axis=1)
    monkeypatch.setattr(loss, "_draw", lambda indices: ops.convert_to_tensor(drawn[0]))
    # NumPy's side starts from the same bank at each evaluation, and so does ours.
    monkeypatch.setattr(loss, "_remember", lambda *args: None)
    monkeypatch.setattr(loss, "_normalize", lambda role, s: ops.exp(s) / memory.z[role])

    def formula(features):
        memory.banks = {role: bank.copy() for role, bank in banks.items()}
        return memory({"teacher": teacher, "student": features}, chosen)

    expected = finite_differences(formula, student)
    actual = gradient_of(lambda s: loss(teacher, s, indices=index), student)
    np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-4)


def test_negatives_are_of_other_classes_and_all_of_them(make):
    loss = make(LABELS, negatives=2000)
    index = np.array([0, 5, 17])
    drawn = ops.convert_to_numpy(loss._draw(ops.convert_to_tensor(index, "int32")))
    for row, label in zip(drawn, LABELS[index], strict=True):
        others = np.flatnonzero(label != LABELS)
        assert set(row) == set(others)
        counts = np.bincount(row, minlength=EXAMPLES)[others]
        # Uniform: each count within five standard deviations of its binomial mean.
        mean = 2000 / len(others)
        assert np.abs(counts - mean).max() < 5 * np.sqrt(mean)


def test_negatives_without_labels_are_any_examples_and_new_at_each_step(make):
    loss = make(negatives=2000)
    draws = [ops.convert_to_numpy(loss._draw(ops.convert_to_tensor([3], "int32"))) for _ in "ab"]
    assert set(draws[0][0]) == set(range(EXAMPLES))
    assert (draws[0] != draws[1]).any()


@pytest.mark.parametrize("examples", [EXAMPLES, LABELS], ids=["count", "labels"])
def test_the_config_round_trips(examples):
    loss = losses.ContrastiveRepresentation(examples, "a", "b", 4, 9, 0.1, 0.9, seed=3, name="x")
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert copy.get_config() == loss.get_config()
    assert (copy.labels is None) == (loss.labels is None)


def test_zero_features_are_finite(make, gradient_of):
    loss, index = make(), np.array([1, 2])
    zeros = np.zeros((2, 3))
    assert np.isfinite(ops.convert_to_numpy(loss(np.zeros((2, 6)), zeros, indices=index))).all()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"examples": 1}, "`examples` to be at least 2"),
        ({"examples": np.zeros(9)}, "labels of several classes"),
        ({"examples": 9, "negatives": 0}, "`negatives` to be at least 1"),
        ({"examples": 9, "dimensions": 0}, "`dimensions` to be at least 1"),
        ({"examples": 9, "momentum": 1.0}, "`momentum` to lie in"),
        ({"examples": 9, "temperature": 0}, "`temperature` to be above 0"),
    ],
)
def test_bad_arguments_are_refused(arguments, complaint):
    with pytest.raises(ValueError, match=complaint):
        losses.ContrastiveRepresentation(**arguments)
