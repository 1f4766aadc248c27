"""The losses of born-again networks against their formulas in NumPy, float64."""

import json

import keras
import numpy as np
import pytest
from keras import ops

from kdzoo import losses

LABELS = np.array([0, 3, 2, 4, 1, 1])
RNG = np.random.default_rng(7)
TEACHER, STUDENT = 3 * RNG.normal(size=(6, 5)), 3 * RNG.normal(size=(6, 5))
ORDER = RNG.random((6, 5))


def softmax(logits):
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


def numpy_cwtm(teacher, student, temperature):
    """Equation 8: weights that sum to 1 over the batch, times the batch for values of samples."""
    confidence = softmax(teacher / temperature).max(-1)
    weights = confidence / confidence.sum()
    rows = np.arange(len(LABELS))
    return -len(LABELS) * weights * np.log(softmax(student)[rows, LABELS])


def numpy_dkpp(teacher, student, temperature, order=ORDER):
    """Equation 9, one sample at a time."""
    values = []
    for t, s, numbers in zip(teacher, student, order, strict=True):
        p, q = softmax(t / temperature), softmax(s / temperature)
        others = [place for place in range(len(p)) if place != p.argmax()]
        permuted = p.copy()
        permuted[others] = p[sorted(others, key=lambda place: numbers[place])]
        values.append(temperature**2 * (permuted * np.log(permuted / q)).sum())
    return np.array(values)


# name: (ours, NumPy's), both of (teacher, student, temperature).
CASES = {
    "cwtm": (lambda t, s, T: losses.confidence_weighted_labels(t, s, LABELS, T), numpy_cwtm),
    "dkpp": (lambda t, s, T: losses.permuted_soft_targets(t, s, ORDER, T), numpy_dkpp),
}


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients_equal_the_formula(case, temperature, check_gradient):
    ours, formula = CASES[case]
    value = ops.convert_to_numpy(ours(TEACHER, STUDENT, temperature))
    assert (value.shape, value.dtype) == ((6,), "float32")
    np.testing.assert_allclose(value, formula(TEACHER, STUDENT, temperature), rtol=1e-5)
    check_gradient(
        lambda s: ours(TEACHER, s, temperature), lambda s: formula(TEACHER, s, temperature), STUDENT
    )


@pytest.mark.parametrize("case", CASES)
def test_extreme_logits_stay_finite_and_halves_are_computed_in_float32(case, gradient_of):
    ours, formula = CASES[case]
    signs = np.where(np.random.default_rng(3).random((2, 6, 5)) < 0.5, -1e4, 1e4)
    assert np.isfinite(ops.convert_to_numpy(ours(*signs, 1.0))).all()
    assert np.isfinite(gradient_of(lambda s: ours(signs[0], s, 1.0), signs[1])).all()
    halves = [ops.cast(part, "bfloat16") for part in (TEACHER, STUDENT)]
    rounded = [ops.convert_to_numpy(ops.cast(half, "float32")).astype("float64") for half in halves]
    value = ours(*halves, 1.0)
    assert keras.backend.standardize_dtype(value.dtype) == "float32"
    np.testing.assert_allclose(ops.convert_to_numpy(value), formula(*rounded, 1.0), rtol=1e-4)


def test_labels_in_every_form_and_labels_that_are_no_classes():
    expected = ops.convert_to_numpy(losses.confidence_weighted_labels(TEACHER, STUDENT, LABELS))
    for labels in (LABELS[:, None], np.eye(5)[LABELS]):
        value = losses.confidence_weighted_labels(TEACHER, STUDENT, labels)
        np.testing.assert_allclose(ops.convert_to_numpy(value), expected, rtol=1e-6)
    with pytest.raises(ValueError, match="integers from 0 to 4"):
        losses.confidence_weighted_labels(TEACHER, STUDENT, LABELS + 1)
    with pytest.raises(ValueError, match="use `SoftTargets` on unlabelled data"):
        losses.confidence_weighted_labels(TEACHER, STUDENT, None)


def test_the_permutations_are_all_equally_likely_and_drawn_anew():
    """Told by the values: a student with all its logits at one class sees one value of p'."""
    loss = losses.PermutedSoftTargets(seed=1)
    teacher = np.tile(np.log([0.5, 0.1, 0.15, 0.25]), (6000, 1))
    # KL differs by 0.1·2, 0.15·2 or 0.25·2, whichever of them the last class has now.
    student = np.tile([0.0, 0.0, 0.0, -2.0], (6000, 1))
    values = [np.round(ops.convert_to_numpy(loss(teacher, student)), 4) for _ in range(2)]
    found, counts = np.unique(values[0], return_counts=True)
    np.testing.assert_allclose(np.diff(found), [0.1, 0.2], atol=1e-3)
    np.testing.assert_allclose(counts, 2000, atol=150)
    assert (values[0] != values[1]).mean() == pytest.approx(2 / 3, abs=0.03)
    again = losses.PermutedSoftTargets(seed=1)
    np.testing.assert_array_equal(np.round(np.array(again(teacher, student)), 4), values[0])


@pytest.mark.parametrize(
    "loss",
    [
        losses.ConfidenceWeightedLabels(2.0, teacher_layer="a", student_layer="b", name="mine"),
        losses.PermutedSoftTargets(3.0, seed=5, output_type="classes"),
    ],
    ids=lambda loss: loss.name,
)
def test_configs_round_trip_through_json(loss):
    saved = json.loads(json.dumps(keras.saving.serialize_keras_object(loss)))
    copy = keras.saving.deserialize_keras_object(saved)
    assert type(copy) is type(loss)
    assert copy.get_config() == loss.get_config()


def test_what_is_not_of_classes_is_refused():
    for loss in (losses.ConfidenceWeightedLabels(), losses.PermutedSoftTargets()):
        with pytest.raises(ValueError, match="independent binary labels"):
            loss.call(TEACHER, STUDENT, LABELS, output_type="binary")
        with pytest.raises(ValueError, match="several exclusive classes"):
            loss.call(TEACHER[:, :1], STUDENT[:, :1], LABELS)
    with pytest.raises(ValueError, match="a number of `order` for each logit"):
        losses.permuted_soft_targets(TEACHER, STUDENT, ORDER[:, :4])
