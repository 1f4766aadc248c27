"""Losses on binary labels and on numbers, against NumPy in float64 and Keras's own losses."""

import json

import keras
import numpy as np
import pytest
from keras import ops

from kdzoo import losses


def sigmoid(logits):
    return np.exp(-np.logaddexp(0.0, -np.asarray(logits, "float64")))


def bernoulli(teacher, student):
    """KL of each pair of answers, as a sum over its two outcomes."""
    log_p, log_q = -np.logaddexp(0.0, -teacher), -np.logaddexp(0.0, -student)
    log_np, log_nq = -np.logaddexp(0.0, teacher), -np.logaddexp(0.0, student)
    return np.exp(log_p) * (log_p - log_q) + np.exp(log_np) * (log_np - log_nq)


def huber(teacher, student, delta):
    size = abs(student - teacher)
    return np.where(size <= delta, 0.5 * size**2, delta * (size - 0.5 * delta)).mean(-1)


# name: (ours, NumPy's), both of (teacher, student) of shape (6, 5).
CASES = {
    **{
        f"soft_targets_T{temperature}": (
            lambda t, s, T=temperature: losses.soft_targets(t, s, T, output_type="binary"),
            lambda t, s, T=temperature: T**2 * bernoulli(t / T, s / T).sum(-1),
        )
        for temperature in (1.0, 4.0, 50.0)
    },
    "kl": (
        lambda t, s: losses.logit_regression(t, s, "kl", output_type="binary"),
        lambda t, s: bernoulli(t, s).sum(-1),
    ),
    "probabilities": (
        lambda t, s: losses.logit_regression(t, s, "probabilities", output_type="binary"),
        lambda t, s: 0.5 * ((sigmoid(t) - sigmoid(s)) ** 2).sum(-1),
    ),
    "mse": (losses.output_regression, lambda t, s: ((t - s) ** 2).mean(-1)),
    "huber": (
        lambda t, s: losses.output_regression(t, s, "huber", 0.7),
        lambda t, s: huber(t, s, 0.7),
    ),
}


@pytest.fixture(scope="module")
def logits():
    rng = np.random.default_rng(7)
    return 3 * rng.normal(size=(6, 5)), 3 * rng.normal(size=(6, 5))


def value(result):
    return ops.convert_to_numpy(result)


@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients_equal_the_formula(case, logits, check_gradient):
    ours, formula = CASES[case]
    teacher, student = logits
    found = ours(*logits)
    assert keras.backend.standardize_dtype(found.dtype) == "float32"
    np.testing.assert_allclose(value(found), formula(*logits), rtol=1e-5)
    np.testing.assert_allclose(value(ours(teacher, teacher)), 0.0, atol=1e-6)
    check_gradient(lambda s: ours(teacher, s), lambda s: formula(teacher, s), student)


@pytest.mark.parametrize("case", CASES)
def test_large_outputs_stay_finite(case, gradient_of):
    ours, formula = CASES[case]
    signs = np.where(np.random.default_rng(3).random((2, 6, 5)) < 0.5, -1e4, 1e4)
    np.testing.assert_allclose(value(ours(*signs)), formula(*signs), rtol=1e-5)
    assert np.isfinite(gradient_of(lambda s: ours(signs[0], s), signs[1])).all()


def test_one_answer_is_that_of_the_issue_and_every_answer_counts():
    # p = .952574, q = .119203: p log(p / q) + (1 - p) log((1 - p) / (1 - q)).
    one = value(losses.soft_targets([[3.0]], [[-2.0]], output_type="binary"))
    np.testing.assert_allclose(one, [1.841212], rtol=1e-6)
    np.testing.assert_allclose(
        value(losses.soft_targets([3.0], [-2.0], output_type="binary")), one, rtol=1e-6
    )
    two = value(losses.soft_targets([[3.0, 3.0]], [[-3.0, -3.0]], output_type="binary"))
    expected = 2 * bernoulli(np.array(3.0), np.array(-3.0))
    np.testing.assert_allclose(two, [expected], rtol=1e-6)


def test_small_differences_and_far_logits_keep_their_digits():
    teacher = np.array([0.3, -5.0, 12.0, -40.0, 1e8, -1e8])[:, None]
    for shift in (1e-3, 0.5, -30.0):
        student = np.float32(teacher + shift).astype("float64")
        expected = bernoulli(np.float32(teacher).astype("float64"), student)[:, 0]
        found = value(losses.soft_targets(teacher, student, output_type="binary"))
        near = (abs(teacher) < 1e6)[:, 0]  # Beyond, float64 has no digits in the sum of NumPy's.
        np.testing.assert_allclose(found[near], expected[near], rtol=3e-3 if shift < 0.01 else 1e-4)
        np.testing.assert_allclose(found[~near], 0.0, atol=1e-6)


def test_a_certain_teacher_and_nan_are_not_hidden():
    infinite = [[np.inf, -np.inf]]
    found = value(losses.soft_targets(infinite, [[2.0, 1.0]], output_type="binary"))
    np.testing.assert_allclose(found, [np.log1p(np.exp(-2.0)) + np.log1p(np.e)], rtol=1e-6)
    for pair in (([[np.nan]], [[1.0]]), ([[1.0]], [[np.nan]])):
        assert np.isnan(value(losses.soft_targets(*pair, output_type="binary"))).all()
        for loss in ("mse", "huber"):
            assert np.isnan(value(losses.output_regression(*pair, loss))).all()


def test_a_mask_has_an_answer_for_each_pixel(logits):
    masks = [part.reshape(2, 3, 5, 1) for part in logits]
    expected = 4 * bernoulli(*(part.reshape(2, 15) / 2 for part in logits)).mean(-1)
    found = value(losses.soft_targets(*masks, 2.0, output_type="binary"))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    pixels = value(losses.SoftTargets(2.0, output_type="binary")(*masks))
    np.testing.assert_allclose(pixels.mean((1, 2)), expected, rtol=1e-5)


@pytest.mark.parametrize("shape", [(30,), (6, 5), (2, 3, 5)])
def test_regression_equals_the_losses_of_keras(shape, logits):
    teacher, student = (part.reshape(shape).astype("float32") for part in logits)
    columns = (len(teacher), -1)
    for ours, theirs in (
        (losses.OutputRegression(), keras.losses.MeanSquaredError(reduction=None)),
        (losses.OutputRegression("huber", 0.5), keras.losses.Huber(0.5, reduction=None)),
    ):
        expected = theirs(teacher.reshape(columns), student.reshape(columns))
        found = value(ours(teacher, student)).reshape(columns).mean(-1)
        np.testing.assert_allclose(found, value(expected), rtol=1e-5)


@pytest.mark.parametrize(
    "loss",
    [
        lambda pair: losses.soft_targets(*pair),
        lambda pair: losses.SoftTargets()(*pair),
        lambda pair: losses.SoftTargets()(*pair, output_type="numbers"),
        lambda pair: losses.soft_targets(*pair, output_type="classes"),
        lambda pair: losses.logit_regression(*pair, "kl"),
        lambda pair: losses.LogitRegression("probabilities")(*pair),
    ],
)
@pytest.mark.parametrize("shape", [(2, 1), (2,), (2, 3, 1)])
def test_one_column_must_be_said(loss, shape):
    with pytest.raises(ValueError, match=r'output_type="binary".*OutputRegression'):
        loss([np.ones(shape, "float32")] * 2)


def test_losses_of_exclusive_classes_refuse_independent_answers():
    one, two = np.ones((2, 1), "float32"), np.ones((2, 2), "float32")
    labels = np.array([0, 1])
    with pytest.raises(ValueError, match=r'SoftTargets\(output_type="binary"\)'):
        losses.decoupled_soft_targets(one, one, labels)
    loss = losses.DecoupledSoftTargets()
    with pytest.raises(ValueError, match=r'or say `output_type="classes"`'):
        loss(two, two, labels=labels, output_type="binary")
    said = losses.DecoupledSoftTargets(output_type="classes")
    assert value(said(two, two, labels=labels, output_type="binary")).shape == (2,)
    theirs = keras.distillation.LogitsDistillation(2.0, loss=keras.losses.KLDivergence())
    wrapped = losses.KerasDistillation(theirs)
    with pytest.raises(ValueError, match=r'SoftTargets\(output_type="binary"\)'):
        wrapped(one, one)
    with pytest.raises(ValueError, match=r'or say `output_type="classes"`'):
        wrapped(two, two, output_type=["binary"])
    said = losses.KerasDistillation(theirs, output_type="classes")
    assert value(said(two, two, output_type=["binary"])).shape == (2,)
    squares = losses.KerasDistillation(keras.distillation.LogitsDistillation(2.0, loss="mse"))
    assert value(squares(one, one, output_type=["binary"])).shape == (2,)


def test_numbers_by_the_compiled_loss_are_pointed_out():
    pair = [np.eye(2, dtype="float32")] * 2
    with pytest.warns(UserWarning, match=r'2 columns.*output_type="classes".*OutputRegression'):
        losses.SoftTargets()(*pair, output_type="numbers")
    losses.SoftTargets(output_type="classes")(*pair, output_type="numbers")


@pytest.mark.parametrize(
    "make",
    [
        lambda: losses.SoftTargets(output_type="numbers"),
        lambda: losses.LogitRegression("kl", output_type="numbers"),
        lambda: losses.DecoupledSoftTargets(output_type="binary"),
        lambda: losses.soft_targets([[1.0, 2.0]], [[1.0, 2.0]], output_type="numbers"),
    ],
)
def test_what_a_loss_cannot_be_on_is_refused(make):
    with pytest.raises(ValueError, match=r"Expected outputs that .* can be on: .*Received: output"):
        make()


@pytest.mark.parametrize(
    "loss",
    [
        losses.SoftTargets(2.5, output_type="binary"),
        losses.LogitRegression("probabilities", output_type="binary"),
        losses.LogitRegression(output_type="numbers"),
        losses.DecoupledSoftTargets(output_type="classes"),
        losses.OutputRegression("huber", 0.5, teacher_layer="a", student_layer="b/c", name="mine"),
        losses.KerasDistillation(
            keras.distillation.LogitsDistillation(2.0, loss="mse"), output_type="classes"
        ),
    ],
    ids=lambda loss: loss.name,
)
def test_configs_round_trip_through_json(loss):
    saved = json.loads(json.dumps(keras.saving.serialize_keras_object(loss)))
    assert keras.saving.deserialize_keras_object(saved).get_config() == loss.get_config()


def test_a_configuration_says_no_more_than_the_caller():
    made = (losses.SoftTargets(), losses.LogitRegression(), losses.DecoupledSoftTargets())
    assert not any("output_type" in loss.get_config() for loss in made)


def test_numbers_of_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"teacher \(4, 1\), student \(4,\)"):
        losses.output_regression(np.zeros((4, 1)), np.zeros(4))
    with pytest.raises(ValueError, match="Expected `delta` to be above 0"):
        losses.OutputRegression("huber", 0.0)
    with pytest.raises(ValueError, match="Did you mean 'huber'"):
        losses.OutputRegression("hubber")
