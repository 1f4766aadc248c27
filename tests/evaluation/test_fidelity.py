"""Agreement and divergence by hand."""

import keras
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
    found = fidelity(Table([[0.0], [2.0]]), Table([[0.0], [-2.0]]), INDEX, output_type="binary")
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
    with pytest.raises(ValueError, match=r"a pair for \(teacher, student\)"):
        agreement(two, two, INDEX, from_logits=(True, True, False))
    with pytest.raises(ValueError, match="temperature > 0"):
        fidelity(two, two, INDEX, temperature=0)
    with pytest.raises(ValueError, match="at least one sample"):
        agreement(two, two, INDEX[:0])


def test_a_temperature_may_be_an_array_without_axes():
    model = Table([[1, 2, 5], [7, 0, 1]])
    assert fidelity(model, model, INDEX, temperature=np.array(2.0)).agreement == 1


def head(kernel, activation):
    inputs = keras.Input((len(kernel),))
    outputs = keras.layers.Dense(len(kernel[0]), activation, use_bias=False)(inputs)
    model = keras.Model(inputs, outputs)
    model.set_weights([np.array(kernel, "float32")])
    return model


X = np.random.default_rng(0).normal(size=(60, 3)).astype("float32")
KERNELS = np.random.default_rng(1).normal(0, 2, (2, 3, 3))


def test_softmax_outputs_give_the_numbers_of_their_logits():
    logits = [head(kernel, None) for kernel in KERNELS]
    likely = [head(kernel, "softmax") for kernel in KERNELS]
    for temperature in (1.0, 4.0):
        expected = fidelity(*logits, X, temperature=temperature)
        for teacher in (logits[0], likely[0], Predicts(likely[0])):
            found = fidelity(teacher, likely[1], X, temperature=temperature, batch_size=7)
            assert found.agreement == expected.agreement
            assert found.kl_divergence == pytest.approx(expected.kl_divergence, rel=1e-4)


class Predicts:
    """A model of which only `predict` can be seen."""

    def __init__(self, model):
        self.model = model

    def predict(self, x):
        return self.model.predict(x, verbose=0)


@pytest.mark.parametrize("activation", ["sigmoid", None])
def test_a_yes_or_no_and_its_opposite(activation):
    model, opposite = head([[1.0]], activation), head([[-1.0]], activation)
    x = np.linspace(-4, 4, 64, dtype="float32")[:, None]  # No zero among them.
    for teacher in (model, Predicts(model)):
        assert agreement(teacher, opposite, x, output_type="binary") == 0.0
        assert agreement(teacher, model, x, output_type="binary") == 1.0
    p = 1 / (1 + np.exp(-x.astype("float64")))
    expected = np.mean(p * np.log(p / (1 - p)) + (1 - p) * np.log((1 - p) / p))
    found = fidelity(model, opposite, x, output_type="binary")
    assert found.kl_divergence == pytest.approx(expected, rel=1e-4)


def test_several_answers_add_up():
    teacher, student = (head(kernel, "sigmoid") for kernel in KERNELS)
    t, s = (X.astype("float64") @ kernel for kernel in KERNELS)
    p, q = 1 / (1 + np.exp(-t)), 1 / (1 + np.exp(-s))
    expected = np.mean((p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))).sum(axis=-1))
    found = fidelity(teacher, student, X)
    assert found.kl_divergence == pytest.approx(expected, rel=1e-4)
    assert found.agreement == pytest.approx(np.mean((t > 0) == (s > 0)))
    as_logits = head(KERNELS[1], None)
    assert fidelity(teacher, as_logits, X).agreement == found.agreement


def test_positions_are_samples():
    rng = np.random.default_rng(0)
    t, s = rng.normal(size=(2, 2, 10, 3))
    found, flat = (
        fidelity(Table(a), Table(b), np.arange(len(a))[:, None])
        for a, b in ((t, s), (t.reshape(20, 3), s.reshape(20, 3)))
    )
    assert found.agreement == flat.agreement
    assert found.kl_divergence == pytest.approx(flat.kl_divergence)
    assert (found.samples, flat.samples) == (2, 20)
    masks = fidelity(Table(t[..., :1]), Table(s[..., :1]), INDEX, output_type="binary")
    assert masks.agreement == np.mean((t[..., :1] > 0) == (s[..., :1] > 0))


def test_what_is_in_doubt_or_has_no_meaning():
    unsure = Table(np.linspace(0.3, 0.7, 2)[:, None])
    with pytest.raises(ValueError, match="Expected from_logits"):
        fidelity(unsure, unsure, INDEX, output_type="binary")
    sure = Table([[0.7], [0.9]])
    assert agreement(sure, sure, INDEX, output_type="binary") == 1.0  # Either way.
    assert agreement(unsure, Table([[0.0], [0.4]]), INDEX, from_logits=(False, True)) == 1.0
    numbers = head([[1.0]], None)
    numbers.compile(loss="mae")
    with pytest.raises(ValueError, match=r"plain numbers: use `fidelity\(...\).relative_error`"):
        agreement(numbers, numbers, X[:, :1])


@pytest.mark.parametrize("loss", ["hinge", keras.losses.SquaredHinge()])
def test_scores_of_a_hinge_say_yes_above_0(loss):
    model, opposite = head([[1.0]], None), head([[-1.0]], None)
    for one in (model, opposite):
        one.compile(loss=loss)
    x = np.linspace(0.1, 0.9, 64, dtype="float32")[:, None]
    assert agreement(model, opposite, x) == 0.0


@pytest.mark.parametrize("measure", [fidelity, agreement])
def test_one_column_of_unknown_meaning_must_be_said(measure):
    numbers, others = Table([[99.0], [101.0]]), Table([[101.0], [99.0]])
    with pytest.raises(ValueError, match=r"Expected output_type.*pass output_type='binary' if"):
        measure(numbers, others, INDEX)


def test_numbers_have_an_error_over_their_spread():
    t, s = 1000 + X, 1000 + X + 0.1 * X[::-1]
    index = np.arange(len(X))[:, None]
    lost = np.sum((s - t) ** 2, axis=0) / np.sum((t - t.mean(axis=0)) ** 2, axis=0)
    expected = np.sqrt(lost.max())
    found = fidelity(Table(t), Table(s), index, output_type="numbers", batch_size=7)
    assert found.relative_error == pytest.approx(expected, rel=1e-3)
    assert np.isnan([found.agreement, found.kl_divergence]).all()
    mean = Table(np.broadcast_to(t.mean(axis=0), t.shape))
    found = fidelity(Table(t), mean, index, output_type="numbers")
    assert found.relative_error == pytest.approx(1, rel=1e-4)
    numbers = head([[1.0]], None)
    numbers.compile(loss="mse")
    assert fidelity(numbers, numbers, X[:, :1]).relative_error == 0
    assert fidelity(Table(t), Table(t), index).relative_error is None


@pytest.mark.parametrize("columns", [2, 17])
def test_the_error_of_a_column_of_small_numbers_is_seen(columns):
    rng = np.random.default_rng(0)
    t = rng.normal(size=(50, columns))
    t[:, 0] *= 1000
    s = t.copy()
    s[:, 1] = rng.normal(size=50)  # Nothing of the teacher's, and small beside its first column.
    lost = np.sum((s - t) ** 2, axis=0), np.sum((t - t.mean(axis=0)) ** 2, axis=0)
    expected = np.sqrt(lost[0][1] / lost[1][1] if columns == 2 else sum(lost[0]) / sum(lost[1]))
    index = np.arange(50)[:, None]
    found = fidelity(Table(t), Table(s), index, output_type="numbers", batch_size=16)
    assert found.relative_error == pytest.approx(expected, rel=1e-5)
    assert (found.relative_error > 1) == (columns == 2)


def test_a_column_that_does_not_vary_is_measured_over_its_size():
    t = np.stack([np.arange(8.0), np.full(8, 5.0)], axis=-1)
    s = t + np.array([0, 0.05])
    found = fidelity(Table(t), Table(s), np.arange(8)[:, None], output_type="numbers")
    assert found.relative_error == pytest.approx(0.01, rel=1e-5)


def test_masked_classes():
    masked, open_ = Table([[1, 2, -np.inf], [2, -np.inf, 0]]), Table([[1, 2, 0.5], [2, 1, 0]])
    found = fidelity(masked, masked, INDEX)
    assert (found.agreement, found.kl_divergence) == (1.0, 0.0)
    p = [np.exp([1, 2]) / np.exp([1, 2]).sum(), np.exp([2, 0]) / np.exp([2, 0]).sum()]
    q = [np.exp([1, 2]) / np.exp([1, 2, 0.5]).sum(), np.exp([2, 0]) / np.exp([2, 1, 0]).sum()]
    expected = np.mean([np.sum(a * np.log(a / b)) for a, b in zip(p, q, strict=True)])
    assert fidelity(masked, open_, INDEX).kl_divergence == pytest.approx(expected, rel=1e-6)
    assert fidelity(open_, masked, INDEX).kl_divergence == np.inf
    for wrong, word in (
        (Table([[-np.inf] * 2, [0.0, 1.0]]), "infinite"),
        (Table([[np.inf, 0.0]] * 2), "infinite"),
        (Table([[np.nan, 0.0]] * 2), "NaN"),
    ):
        with pytest.raises(ValueError, match=f"{word} values from Table"):
            agreement(wrong, wrong, INDEX)
    with pytest.raises(ValueError, match="infinite values"):
        fidelity(masked, masked, INDEX, output_type="numbers")
