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

    def __init__(self, loss, temperature=0.07, momentum=0.5):
        self.temperature, self.momentum = temperature, momentum
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
            out = np.exp(np.einsum("bkd,bd->bk", rows, embeddings[role]) / self.temperature)
            self.z.setdefault(role, out.mean() * EXAMPLES)
            total = total + numpy_noise_contrastive(out / self.z[role], EXAMPLES)
        for role, embedding in embeddings.items():
            old = self.banks[role][chosen[:, 0]]
            mixed = self.momentum * old + (1 - self.momentum) * embedding
            self.banks[role][chosen[:, 0]] = unit(mixed)
        return total

    def first_loss(self, features, chosen):
        """The loss of a first batch that leaves nothing behind but Z."""
        banks = {role: bank.copy() for role, bank in self.banks.items()}
        loss = self(features, chosen)
        self.banks = banks
        return loss


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

    monkeypatch.setattr(loss, "draw_negatives", draw)
    return drawn


def without_trace(loss, teacher, student, indices):
    """The loss, with its memory left as it was."""
    with keras.StatelessScope():
        return loss(teacher, student, indices=indices)


@pytest.mark.parametrize("arguments", [{}, {"temperature": 0.2, "momentum": 0.9}], ids=str)
@pytest.mark.parametrize("fetching", [0, 8], ids=["rows fetched", "whole bank"])
def test_three_steps_equal_the_authors_code(make, batches, monkeypatch, fetching, arguments):
    monkeypatch.setattr("kdzoo.losses.contrastive._FETCHING", fetching)
    loss = make(**arguments)
    expected, drawn = NumpyMemory(loss, **arguments), with_known_negatives(loss, monkeypatch)
    for teacher, student, index in batches:
        value = ops.convert_to_numpy(loss(teacher, student, indices=index))
        chosen = np.concatenate([index[:, None], drawn[-1]], axis=1)
        features = {"teacher": teacher, "student": student}
        np.testing.assert_allclose(value, expected(features, chosen), rtol=1e-5)
    for role, bank in loss.banks.items():
        np.testing.assert_allclose(ops.convert_to_numpy(bank), expected.banks[role], rtol=1e-4)


@pytest.mark.parametrize("fetching", [0, 8], ids=["rows fetched", "whole bank"])
@pytest.mark.parametrize("role", ["teacher", "student"])
def test_the_gradient_in_the_first_batch_equals_finite_differences(
    make, batches, monkeypatch, check_gradient, role, fetching
):
    monkeypatch.setattr("kdzoo.losses.contrastive._FETCHING", fetching)
    loss = make()
    memory, drawn = NumpyMemory(loss), with_known_negatives(loss, monkeypatch)
    *features, index = batches[0]
    features = dict(zip(("teacher", "student"), features, strict=True))
    without_trace(loss, **features, indices=index)
    monkeypatch.setattr(loss, "draw_negatives", lambda indices: ops.convert_to_tensor(drawn[0]))
    chosen = np.concatenate([index[:, None], drawn[0]], axis=1)
    memory.first_loss(features, chosen)  # Sets Z, which the authors do not differentiate.
    check_gradient(
        lambda x: without_trace(loss, **{**features, role: x}, indices=index),
        lambda x: memory.first_loss({**features, role: x}, chosen),
        features[role],
    )


@pytest.mark.parametrize("temperature", [0.01, 1e-4])
def test_low_temperatures_stay_finite(make, batches, monkeypatch, gradient_of, temperature):
    loss = make(temperature=temperature)
    memory, drawn = NumpyMemory(loss, temperature), with_known_negatives(loss, monkeypatch)
    teacher, student, index = batches[0]
    value = ops.convert_to_numpy(without_trace(loss, teacher, student, index))
    assert np.isfinite(value).all()
    if temperature == 0.01:  # exp(1 / 0.01) is beyond float32, exp(1 / 1e-4) beyond float64.
        chosen = np.concatenate([index[:, None], drawn[0]], axis=1)
        expected = memory.first_loss({"teacher": teacher, "student": student}, chosen)
        np.testing.assert_allclose(value, expected, rtol=1e-5)
    slope = gradient_of(lambda s: without_trace(loss, teacher, s, index), student)
    assert np.isfinite(slope).all()
    assert np.abs(slope).max() > 0


@pytest.mark.large_on_jax
def test_a_batch_of_one_equals_the_formula(make, batches, monkeypatch, gradient_of):
    loss = make()
    memory, drawn = NumpyMemory(loss), with_known_negatives(loss, monkeypatch)
    teacher, student, index = (part[:1] for part in batches[0])
    slope = gradient_of(lambda s: without_trace(loss, teacher, s, index), student)
    assert np.isfinite(slope).all()
    value = ops.convert_to_numpy(loss(teacher, student, indices=index))
    chosen = np.concatenate([index[:, None], drawn[-1]], axis=1)
    expected = memory({"teacher": teacher, "student": student}, chosen)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    for role, bank in loss.banks.items():
        np.testing.assert_allclose(ops.convert_to_numpy(bank), memory.banks[role], rtol=1e-5)


def test_of_an_example_twice_in_a_batch_one_projection_is_kept(make, batches, monkeypatch):
    loss = make()
    memory, drawn = NumpyMemory(loss), with_known_negatives(loss, monkeypatch)
    teacher, student, index = batches[0]
    index = np.where(np.arange(4) == 2, index[0], index)
    value = ops.convert_to_numpy(loss(teacher, student, indices=index))
    chosen = np.concatenate([index[:, None], drawn[-1]], axis=1)
    candidates = []
    for order in (slice(None), slice(None, None, -1)):  # NumPy keeps the last.
        features = {"teacher": teacher[order], "student": student[order]}
        banks = {role: bank.copy() for role, bank in memory.banks.items()}
        np.testing.assert_allclose(value[order], memory(features, chosen[order]), rtol=1e-5)
        candidates.append(memory.banks)
        memory.banks = banks
    for role, bank in loss.banks.items():
        bank = ops.convert_to_numpy(bank)
        near = [np.allclose(bank, banks[role], rtol=1e-5, atol=1e-6) for banks in candidates]
        assert any(near)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_features_are_computed_in_float32(make, batches, monkeypatch, dtype):
    loss = make()
    memory, drawn = NumpyMemory(loss), with_known_negatives(loss, monkeypatch)
    *features, index = batches[0]
    halves = [ops.cast(part, dtype) for part in features]
    rounded = [ops.convert_to_numpy(ops.cast(half, "float32")).astype("float64") for half in halves]
    value = loss(*halves, indices=index)
    assert keras.backend.standardize_dtype(value.dtype) == "float32"
    chosen = np.concatenate([index[:, None], drawn[-1]], axis=1)
    expected = memory(dict(zip(("teacher", "student"), rounded, strict=True)), chosen)
    np.testing.assert_allclose(ops.convert_to_numpy(value), expected, rtol=1e-5)


def test_the_function_equals_the_authors_and_stays_finite(gradient_of, check_gradient):
    scores = np.random.default_rng(3).normal(scale=3, size=(4, 8))
    for examples in (20, 10**8):  # Of so many examples the authors' epsilon counts.
        value = ops.convert_to_numpy(losses.noise_contrastive(scores, examples))
        expected = numpy_noise_contrastive(np.exp(scores), examples)
        np.testing.assert_allclose(value, expected, rtol=1e-5)
    check_gradient(
        lambda z: losses.noise_contrastive(z, 20),
        lambda z: numpy_noise_contrastive(np.exp(z), 20),
        scores,
    )
    extreme = np.where(scores > 0, 1e4, -1e4)
    assert np.isfinite(ops.convert_to_numpy(losses.noise_contrastive(extreme, 20))).all()
    assert np.isfinite(gradient_of(lambda z: losses.noise_contrastive(z, 20), extreme)).all()
    for columns, examples in ((1, 20), (8, 0)):
        with pytest.raises(ValueError, match=r"Expected scores of one positive.*Received"):
            losses.noise_contrastive(scores[:, :columns], examples)


def test_negatives_are_of_other_classes_and_all_of_them(make):
    loss = make(LABELS, negatives=2000)
    index = np.array([0, 5, 17])
    drawn = ops.convert_to_numpy(loss.draw_negatives(ops.convert_to_tensor(index, "int32")))
    for row, label in zip(drawn, LABELS[index], strict=True):
        others = np.flatnonzero(label != LABELS)
        assert set(row) == set(others)
        counts = np.bincount(row, minlength=EXAMPLES)[others]
        # Uniform: each count within five standard deviations of its binomial mean.
        mean = 2000 / len(others)
        assert np.abs(counts - mean).max() < 5 * np.sqrt(mean)


def test_negatives_without_labels_are_any_examples_and_new_at_each_step(make):
    loss = make(negatives=2000)
    draws = [
        ops.convert_to_numpy(loss.draw_negatives(ops.convert_to_tensor([3], "int32"))) for _ in "ab"
    ]
    assert set(draws[0][0]) == set(range(EXAMPLES))
    assert (draws[0] != draws[1]).any()


@pytest.mark.parametrize("scale", [0.0, 1e-20, 1e4])
def test_extreme_features_give_finite_values_and_gradients(make, batches, gradient_of, scale):
    loss = make()
    teacher, student, index = batches[0]
    teacher, student = scale * teacher, scale * student
    value = ops.convert_to_numpy(without_trace(loss, teacher, student, index))
    assert np.isfinite(value).all()
    for slope in (
        gradient_of(lambda s: without_trace(loss, teacher, s, index), student),
        gradient_of(lambda t: without_trace(loss, t, student, index), teacher),
    ):
        assert np.isfinite(slope).all()


def test_indices_may_come_in_a_column(make, batches):
    teacher, student, index = batches[0]
    loss = make()
    values = [without_trace(loss, teacher, student, given) for given in (index, index[:, None])]
    np.testing.assert_array_equal(*(ops.convert_to_numpy(value) for value in values))


@pytest.mark.parametrize(
    ("indices", "complaint"),
    [
        (None, r"Expected `indices`.*split.batches\(..., indices=True\)"),
        (np.ones(4, "float32"), "Expected `indices` to be integers. Received: .*float32"),
    ],
    ids=["none", "float"],
)
def test_indices_that_are_none_are_refused(make, batches, indices, complaint):
    teacher, student, _ = batches[0]
    with pytest.raises(ValueError, match=complaint):
        make()(teacher, student, indices=indices)
