"""Response losses against their formulas in NumPy, float64, written from the papers."""

import json

import keras
import numpy as np
import pytest
from keras import ops

from kdzoo import losses
from kdzoo.losses.divergence import kl_divergence

TEACHER = np.array([[1.0, 2.0, 5.0]])
STUDENT = np.array([[0.5, 2.5, 0.0]])


def softmax(logits):
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


def kl(p, q):
    return (p * (np.log(p) - np.log(q))).sum(-1)


def numpy_soft_targets(teacher, student, temperature):
    return temperature**2 * kl(softmax(teacher / temperature), softmax(student / temperature))


def numpy_decoupled(teacher, student, labels, alpha, beta, temperature):
    """Equation 7 of the paper, from probabilities, one sample at a time."""
    values = []
    for t, s, label in zip(teacher, student, labels, strict=True):
        p, q = softmax(t / temperature), softmax(s / temperature)
        b_p = np.array([p[label], 1 - p[label]])
        b_q = np.array([q[label], 1 - q[label]])
        rest = np.arange(len(p)) != label
        hat_p, hat_q = p[rest] / p[rest].sum(), q[rest] / q[rest].sum()
        values.append(temperature**2 * (alpha * kl(b_p, b_q) + beta * kl(hat_p, hat_q)))
    return np.array(values)


def z_scores(logits):
    """As the authors' code has them, but for the 1e-7 that it adds to the deviation."""
    return (logits - logits.mean(-1, keepdims=True)) / logits.std(-1, ddof=1, keepdims=True)


def numpy_correlation(teacher, student, beta, gamma, temperature):
    """Of each sample; of a class, the samples' shares are half the squares of the differences."""
    p, q = softmax(teacher / temperature), softmax(student / temperature)

    def unit(values, axis):
        centred = values - values.mean(axis, keepdims=True)
        return centred / np.linalg.norm(centred, axis=axis, keepdims=True)

    over_classes = 1 - (unit(p, 1) * unit(q, 1)).sum(1)
    shares = 0.5 * (unit(p, 0) - unit(q, 0)) ** 2
    return temperature**2 * (beta * over_classes + gamma * len(p) * shares.mean(1))


NUMPY_REGRESSION = {
    "logits": lambda t, s: 0.5 * ((t - s) ** 2).sum(-1),
    "probabilities": lambda t, s: 0.5 * ((softmax(t) - softmax(s)) ** 2).sum(-1),
    "kl": lambda t, s: kl(softmax(t), softmax(s)),
}

LABELS = np.array([0, 3, 2, 4, 1, 1])

# name: (ours, NumPy's), both of (teacher, student).
CASES = {
    **{
        f"soft_targets_T{temperature}": (
            lambda t, s, T=temperature: losses.soft_targets(t, s, T),
            lambda t, s, T=temperature: numpy_soft_targets(t, s, T),
        )
        for temperature in (1.0, 4.0, 20.0)
    },
    **{
        f"regression_{target}": (
            lambda t, s, target=target: losses.logit_regression(t, s, target),
            function,
        )
        for target, function in NUMPY_REGRESSION.items()
    },
    "decoupled": (
        lambda t, s: losses.decoupled_soft_targets(t, s, LABELS, 1.0, 8.0, 4.0),
        lambda t, s: numpy_decoupled(t, s, LABELS, 1.0, 8.0, 4.0),
    ),
    "standardized": (
        lambda t, s: losses.soft_targets(t, s, 2.0, standardize=True),
        lambda t, s: numpy_soft_targets(z_scores(t), z_scores(s), 2.0),
    ),
    "correlation": (
        lambda t, s: losses.prediction_correlation(t, s, 2.0, 3.0, 2.0),
        lambda t, s: numpy_correlation(t, s, 2.0, 3.0, 2.0),
    ),
}


@pytest.fixture
def logits():
    rng = np.random.default_rng(7)
    return 3 * rng.normal(size=(6, 5)), 3 * rng.normal(size=(6, 5))


def test_soft_targets_equal_the_number_computed_by_hand():
    value = losses.soft_targets(TEACHER, STUDENT, 3.0)
    # Σ p (log p - log q) of the two softmaxes at T=3, times 9, computed with 30 digits.
    np.testing.assert_allclose(ops.convert_to_numpy(value), [3.194177], rtol=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_values_equal_the_formula(case, logits):
    ours, formula = CASES[case]
    value = ops.convert_to_numpy(ours(*logits))
    assert value.shape == (6,)
    assert value.dtype == "float32"
    np.testing.assert_allclose(value, formula(*logits), rtol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_gradients_equal_finite_differences(case, logits, check_gradient):
    ours, formula = CASES[case]
    teacher, student = logits
    check_gradient(lambda s: ours(teacher, s), lambda s: formula(teacher, s), student)


@pytest.mark.parametrize("case", CASES)
def test_minimum_is_zero_at_equality(case, logits, gradient_of):
    ours, _ = CASES[case]
    teacher, student = logits
    np.testing.assert_allclose(ops.convert_to_numpy(ours(teacher, teacher)), 0.0, atol=1e-5)
    np.testing.assert_allclose(gradient_of(lambda s: ours(teacher, s), teacher), 0.0, atol=1e-4)
    assert (ops.convert_to_numpy(ours(teacher, student)) > 0).all()


@pytest.mark.parametrize("case", CASES)
def test_extreme_logits_stay_finite(case, gradient_of):
    ours, _ = CASES[case]
    signs = np.where(np.random.default_rng(3).random((2, 6, 5)) < 0.5, -1e4, 1e4)
    assert np.isfinite(ops.convert_to_numpy(ours(*signs))).all()
    assert np.isfinite(gradient_of(lambda s: ours(signs[0], s), signs[1])).all()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("case", CASES)
def test_half_precision_logits_are_computed_in_float32(case, dtype, logits):
    ours, formula = CASES[case]
    halves = [ops.cast(part, dtype) for part in logits]
    rounded = [ops.convert_to_numpy(ops.cast(half, "float32")).astype("float64") for half in halves]
    value = ours(*halves)
    assert keras.backend.standardize_dtype(value.dtype) == "float32"
    np.testing.assert_allclose(ops.convert_to_numpy(value), formula(*rounded), rtol=1e-4)


def test_positions_of_a_sample_are_averaged(logits):
    grid = [part.reshape(2, 3, 5) for part in logits]
    expected = numpy_soft_targets(*logits, 2.0).reshape(2, 3).mean(1)
    value = losses.soft_targets(*grid, 2.0)
    np.testing.assert_allclose(ops.convert_to_numpy(value), expected, rtol=1e-5)


def test_decoupled_weights_recover_plain_soft_targets(logits):
    # The paper's equation 5: KD = TCKD + (1 - p_label of the teacher) NCKD, sample by sample.
    teacher, student = logits
    temperature = 4.0
    rest = 1 - softmax(teacher / temperature)[np.arange(6), LABELS]
    parts = [
        ops.convert_to_numpy(
            losses.decoupled_soft_targets(teacher, student, LABELS, *weights, temperature)
        )
        for weights in ((1.0, 0.0), (0.0, 1.0))
    ]
    expected = numpy_soft_targets(teacher, student, temperature)
    np.testing.assert_allclose(parts[0] + rest * parts[1], expected, rtol=1e-4)


def test_decoupled_takes_every_form_of_labels(logits):
    expected = ops.convert_to_numpy(losses.decoupled_soft_targets(*logits, LABELS))
    for labels in (LABELS[:, None], np.eye(5)[LABELS], LABELS.astype("float32")):
        value = losses.decoupled_soft_targets(*logits, labels)
        np.testing.assert_allclose(ops.convert_to_numpy(value), expected, rtol=1e-6)


def test_normalized_regression_divides_by_the_teachers_deviation(logits):
    teacher, student = logits
    mean, std = losses.logit_statistics(teacher)
    np.testing.assert_allclose(mean, teacher.mean(0), rtol=1e-6)
    np.testing.assert_allclose(std, teacher.std(0), rtol=1e-6)
    loss = losses.LogitRegression(mean=mean, std=std)
    normalized = [(part - teacher.mean(0)) / teacher.std(0) for part in logits]
    expected = NUMPY_REGRESSION["logits"](*normalized)
    np.testing.assert_allclose(ops.convert_to_numpy(loss(teacher, student)), expected, rtol=1e-5)


def test_constant_logits_cannot_be_normalized():
    with pytest.raises(ValueError, match=r"classes \[1\].*unnormalized"):
        losses.logit_statistics(np.array([[1.0, 2.0], [3.0, 2.0]]))


@pytest.mark.parametrize(
    "loss",
    [
        losses.SoftTargets(2.5, teacher_layer="a", student_layer="b/c", name="mine"),
        losses.LogitRegression("probabilities"),
        losses.LogitRegression(mean=[0.0, 1.0], std=[1.0, 2.0]),
        losses.DecoupledSoftTargets(2.0, 3.0, 5.0),
        losses.SoftTargets(2.0, standardize=True, name="standardized"),
        losses.PredictionCorrelation(2.0, 3.0, 4.0, output_type="classes"),
    ],
    ids=lambda loss: loss.name,
)
def test_configs_round_trip_through_json(loss):
    saved = json.loads(json.dumps(keras.saving.serialize_keras_object(loss)))
    copy = keras.saving.deserialize_keras_object(saved)
    assert type(copy) is type(loss)
    assert copy.get_config() == loss.get_config()


@pytest.mark.parametrize("temperature", [0, -1.0, float("nan"), float("inf"), "4", None, True])
def test_wrong_temperatures_are_refused(temperature):
    of_temperature = losses.DecoupledSoftTargets, losses.PredictionCorrelation
    for make in (losses.SoftTargets, *(lambda T, c=c: c(temperature=T) for c in of_temperature)):
        with pytest.raises(ValueError, match=r"Expected `temperature`.*Received: temperature="):
            make(temperature)


def test_unequal_classes_are_refused():
    with pytest.raises(ValueError, match=r"teacher \(2, 10\), student \(2, 9\); build the student"):
        losses.soft_targets(np.zeros((2, 10)), np.zeros((2, 9)))


def test_decoupled_without_labels_is_refused():
    with pytest.raises(ValueError, match="use `SoftTargets` on unlabelled data"):
        losses.decoupled_soft_targets(TEACHER, STUDENT, None)


def test_unknown_regression_targets_suggest_the_nearest():
    with pytest.raises(ValueError, match="Did you mean 'logits'"):
        losses.LogitRegression("logit")
    with pytest.raises(ValueError, match="Did you mean 'probabilities'"):
        losses.logit_regression(TEACHER, STUDENT, "probability")


def test_deviations_must_be_positive():
    with pytest.raises(ValueError, match="Expected `std` to be above 0"):
        losses.LogitRegression(std=[1.0, 0.0])


def test_a_loss_must_implement_call():
    class Nothing(losses.DistillationLoss):
        pass

    with pytest.raises(TypeError, match="Expected `Nothing` to implement"):
        Nothing().call(None, None)


def test_decoupled_follows_the_authors_code(logits):
    """Step by step as their `dkd_loss` goes: masks, the label pushed out by -1000, batch means."""
    teacher, student = logits
    alpha, beta, temperature = 1.0, 8.0, 4.0
    label = np.eye(5)[LABELS]
    both = [softmax(part / temperature) for part in (teacher, student)]
    pairs = [np.stack([(p * label).sum(1), (p * (1 - label)).sum(1)], 1) for p in both]
    target_part = kl(*pairs).sum() * temperature**2 / len(LABELS)
    rest = [softmax(part / temperature - 1000.0 * label) for part in (teacher, student)]
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(rest[0] > 0, rest[0] * (np.log(rest[0]) - np.log(rest[1])), 0)
    other_part = terms.sum() * temperature**2 / len(LABELS)
    ours = losses.decoupled_soft_targets(teacher, student, LABELS, alpha, beta, temperature)
    expected = alpha * target_part + beta * other_part
    np.testing.assert_allclose(ops.convert_to_numpy(ours).mean(), expected, rtol=1e-5)


def test_statistics_may_have_an_axis_for_the_examples():
    teacher, student = np.eye(3, dtype="float32") * 4, np.ones((3, 3), "float32")
    mean, std = teacher.mean(0, keepdims=True), teacher.std(0, keepdims=True)
    flat = losses.logit_regression(teacher, student, mean=mean[0], std=std[0])
    kept = losses.logit_regression(teacher, student, mean=mean, std=std)
    np.testing.assert_array_equal(np.array(kept), np.array(flat))
    assert losses.LogitRegression(mean=mean, std=std).mean.shape == (3,)


def test_statistics_may_be_made_within_a_compiled_step():
    teacher, student = np.eye(3, dtype="float32") * 4, np.ones((3, 3), "float32")

    def step(teacher, student):
        mean, std = keras.ops.mean(teacher, axis=0), keras.ops.std(teacher, axis=0)
        return losses.logit_regression(teacher, student, mean=mean, std=std)

    if keras.backend.backend() == "jax":
        import jax

        compiled = jax.jit(step)
    else:
        import tensorflow as tf

        compiled = tf.function(step)
    expected = losses.logit_regression(teacher, student, mean=teacher.mean(0), std=teacher.std(0))
    np.testing.assert_allclose(np.array(compiled(teacher, student)), np.array(expected), rtol=1e-5)


def numpy_softened_kl(teacher, student, temperature):
    """T² KL in float64, with 0 · log 0 = 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        p, q = (np.exp(np.asarray(z, "float64") / temperature) for z in (teacher, student))
        p, q = p / p.sum(-1, keepdims=True), q / q.sum(-1, keepdims=True)
        return temperature**2 * np.where(p > 0, p * np.log(p / q), 0).sum(-1)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 50.0])
@pytest.mark.parametrize(
    "student", [[[1.0, 0.0, 2.0]], [[0.5, -np.inf, 2.5]], [[40.0, -np.inf, 0.0]]], ids=str
)
def test_classes_that_the_teacher_excludes_have_no_part(student, temperature, gradient_of):
    teacher = np.array([[1.0, -np.inf, 2.0]])
    expected = numpy_softened_kl(teacher, student, temperature)
    np.testing.assert_allclose(
        losses.soft_targets(teacher, student, temperature), expected, rtol=1e-4
    )
    gradient = gradient_of(lambda s: losses.soft_targets(teacher, s, temperature), student)
    p, q = (np.exp(np.array(z) / temperature) for z in (teacher, student))
    right = temperature * (q / q.sum() - p / p.sum())
    np.testing.assert_allclose(gradient, right, rtol=1e-4, atol=1e-5)


def test_the_excluded_class_of_the_paper_trail():
    value = losses.soft_targets([[1, -np.inf, 2]], [[1, 0, 2]], 2.0)
    np.testing.assert_allclose(value, [0.8248], atol=5e-5)


@pytest.mark.parametrize("offset", [1e4, -1e4, 1e6])
@pytest.mark.parametrize("name", ["soft_targets", "decoupled"])
def test_what_all_logits_have_in_common_does_not_count(name, offset):
    # Differences that float32 holds beside the offset.
    teacher, student = np.array([[[1.0, 2.0, 5.0]], [[0.5, 2.5, 0.0]]])
    function = {
        "soft_targets": losses.soft_targets,
        "decoupled": lambda t, s, T: losses.decoupled_soft_targets(t, s, [1], temperature=T),
    }[name]
    expected = function(teacher, student, 50.0)
    np.testing.assert_allclose(function(teacher + offset, student, 50.0), expected, rtol=1e-5)
    np.testing.assert_allclose(function(teacher, student + offset, 50.0), expected, rtol=1e-5)
    if name == "soft_targets":
        np.testing.assert_allclose(expected, numpy_softened_kl(teacher, student, 50.0), rtol=1e-5)


@pytest.mark.parametrize(
    "labels",
    [[5, 0], [-1, 0], [np.nan, 0], [1.9, 0], [[0, 0, 0], [1, 0, 0]], [[np.nan, 0, 1], [1, 0, 0]]],
    ids=str,
)
def test_labels_that_are_no_classes(labels):
    logits = np.random.default_rng(0).normal(size=(2, 3)).astype("float32")
    with pytest.raises(ValueError, match="integers from 0 to 2, or one-hot"):
        losses.decoupled_soft_targets(logits, logits[::-1], np.array(labels))
    value = compiled(losses.decoupled_soft_targets)(logits, logits[::-1], np.array(labels, "f"))
    np.testing.assert_array_equal(np.isnan(value), [True, False])


def compiled(function, **options):
    """The function as a compiled step runs it, which knows no values and no batch beforehand."""
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(function)
    import tensorflow as tf

    def run(*tensors):
        specs = [tf.TensorSpec((None, *tensor.shape[1:]), tensor.dtype) for tensor in tensors]
        step = tf.function(lambda *given: function(*given), input_signature=specs, **options)
        return step(*tensors)

    return run


@pytest.mark.parametrize(
    "name",
    [
        "soft_targets",
        "logit_regression",
        "decoupled_soft_targets",
        "hint",
        "attention_transfer",
        "prediction_correlation",
        "probabilistic_transfer",
        "variational_information",
        "relational_distance",
        "relational_angle",
        "similarity_preserving",
    ],
)
def test_a_batch_of_one_is_not_spread_over_another(name):
    shape = (2, 2, 3) if name == "attention_transfer" else (3,)
    teacher, student = np.ones((1, *shape), "float32"), np.ones((2, *shape), "float32")
    labels = [np.zeros(2, "int32")] if name == "decoupled_soft_targets" else []
    run = compiled(getattr(losses, name))
    if keras.backend.backend() == "tensorflow":
        with pytest.raises(Exception, match="reshape"):
            compiled(getattr(losses, name), jit_compile=True)(teacher, student, *labels)
    for pair in ((teacher, student), (student, teacher)):
        with pytest.raises(Exception, match="of the same samples"):
            run(*pair, *labels)
    if labels:
        with pytest.raises(Exception, match=r"of the same samples|Expected logits"):
            run(student, student, labels[0][:1])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("side", [0, 1], ids=["teacher", "student"])
@pytest.mark.parametrize(
    "name",
    [
        "soft_targets",
        "logit_regression",
        "decoupled_soft_targets",
        "hint",
        "attention_transfer",
        "prediction_correlation",
        "probabilistic_transfer",
        "variational_information",
        "relational_distance",
        "relational_angle",
        "similarity_preserving",
    ],
)
def test_what_is_not_finite_never_gives_a_finite_loss(name, side, value):
    shape = (4, 2, 2, 3) if name == "attention_transfer" else (4, 3)
    labels = [np.zeros(4, "int32")] if name == "decoupled_soft_targets" else []
    for places in (np.s_[1], np.s_[:]):
        pair = list(np.random.default_rng(0).normal(size=(2, *shape)))
        pair[side][places] = value
        found = ops.convert_to_numpy(getattr(losses, name)(*pair, *labels))
        assert not np.isfinite(found[places]).any()


def test_excluded_classes_that_the_teacher_hardly_or_surely_takes():
    # A probability of exp(-200) is 0 in float32, so that the class has no part.
    teacher, student = [[0.0, 1.0, -200.0]], [[1.0, 0.0, -np.inf]]
    expected = losses.soft_targets([[0.0, 1.0]], [[1.0, 0.0]])
    np.testing.assert_allclose(losses.soft_targets(teacher, student), expected, rtol=1e-6)
    # What the student gives to that class counts, as the others have less.
    found = losses.soft_targets([[0.0, 1.0, -200.0]], [[1.0, 0.0, 3.0]])
    p = 1 / (1 + np.exp([1.0, -1.0]))
    log_q = np.array([1.0, 0.0]) - np.log(np.exp(1) + 1 + np.exp(3))
    np.testing.assert_allclose(found, [(p * (np.log(p) - log_q)).sum()], rtol=1e-5)
    teacher = [[0.0], [-3.0], [3.0], [np.inf], [-np.inf], [np.inf]]
    student = [[np.inf], [np.inf], [-np.inf], [np.inf], [-np.inf], [-np.inf]]
    found = losses.soft_targets(teacher, student, output_type="binary")
    np.testing.assert_array_equal(found, [np.inf, np.inf, np.inf, 0, 0, np.inf])


@pytest.mark.parametrize("ours", [losses.soft_targets, losses.SoftTargets], ids=["pure", "class"])
def test_standardized_logits_have_no_scale_and_no_origin(ours, logits):
    teacher, student = logits
    expected = numpy_soft_targets(z_scores(teacher), z_scores(student), 3.0)
    if ours is losses.soft_targets:
        values = ours(7 * teacher + 2, 0.1 * student - 5, 3.0, standardize=True)
    else:
        values = ours(3.0, standardize=True)(7 * teacher + 2, 0.1 * student - 5)
    np.testing.assert_allclose(values, expected, rtol=1e-4)


@pytest.mark.large_on_jax
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_logits_that_are_equal_have_no_z_scores_and_no_slope(scale, gradient_of):
    teacher, student = scale * np.eye(3), scale * np.ones((3, 3))
    expected = numpy_soft_targets(z_scores(np.eye(3)), np.zeros((3, 3)), 2.0)
    loss = losses.SoftTargets(2.0, standardize=True)
    np.testing.assert_allclose(loss(teacher, student), expected, rtol=1e-5)
    np.testing.assert_array_equal(gradient_of(lambda s: loss(teacher, s), student), 0)


def test_yes_or_no_answers_are_not_standardized():
    with pytest.raises(ValueError, match=r"SoftTargets\(standardize=True\)` can be on: 'classes'"):
        losses.SoftTargets(standardize=True, output_type="binary")
    with pytest.raises(ValueError, match=r"exclusive classes for `SoftTargets\(standardize=True"):
        losses.SoftTargets(standardize=True)(TEACHER, STUDENT, output_type="binary")
    with pytest.raises(ValueError, match=r"soft_targets\(standardize=True\)`.*one value each"):
        losses.soft_targets(TEACHER[:, :1], STUDENT[:, :1], standardize=True)
    with pytest.raises(ValueError, match=r"Expected standardize to be True or False"):
        losses.SoftTargets(standardize="no")


def test_a_configuration_names_standardization_where_it_is():
    assert "standardize" not in losses.SoftTargets().get_config()


def authors_dist(teacher, student, beta, gamma, tau):
    """Their code, step by step: the mean over the samples, then that over the classes."""

    def relation(s, t):
        s, t = s - s.mean(1, keepdims=True), t - t.mean(1, keepdims=True)
        norms = np.linalg.norm(s, axis=1) * np.linalg.norm(t, axis=1)
        return 1 - ((s * t).sum(1) / (norms + 1e-8)).mean()

    s, t = softmax(student / tau), softmax(teacher / tau)
    return tau**2 * (beta * relation(s, t) + gamma * relation(s.T, t.T))


@pytest.mark.parametrize("scale", [1.0, 30.0])
@pytest.mark.parametrize("weights", [(1.0, 0.0), (0.0, 1.0), (2.0, 3.0)], ids=str)
def test_correlation_follows_the_authors_code(weights, scale, logits):
    # At the larger scale the 1e-8 counts: some classes hardly vary.
    teacher, student = (scale * part for part in logits)
    values = ops.convert_to_numpy(losses.prediction_correlation(teacher, student, *weights, 4.0))
    expected = authors_dist(teacher, student, *weights, 4.0)
    np.testing.assert_allclose(values.mean(), expected, rtol=1e-5)
    loss = losses.PredictionCorrelation(*weights, temperature=4.0)
    np.testing.assert_allclose(loss(teacher, student), values, rtol=1e-6)


def test_predictions_of_one_sample_correlate_over_the_classes_alone():
    value = losses.prediction_correlation(TEACHER, STUDENT, 2.0, 3.0)
    expected = authors_dist(TEACHER, STUDENT, 2.0, 3.0, 1.0)
    np.testing.assert_allclose(value, [expected], rtol=1e-5)


def test_positions_are_samples_that_predictions_correlate_over(logits):
    grid = [part.reshape(2, 3, 5) for part in logits]
    expected = numpy_correlation(*logits, 2.0, 3.0, 4.0).reshape(2, 3).mean(1)
    values = losses.prediction_correlation(*grid, 2.0, 3.0, 4.0)
    np.testing.assert_allclose(values, expected, rtol=1e-5)
    pixels = ops.convert_to_numpy(losses.PredictionCorrelation(2.0, 3.0, 4.0)(*grid))
    np.testing.assert_allclose(pixels.mean(1), expected, rtol=1e-5)


def test_correlations_are_of_exclusive_classes():
    loss = losses.PredictionCorrelation()
    with pytest.raises(ValueError, match=r'or say `output_type="classes"`'):
        loss(TEACHER, STUDENT, output_type="binary")
    with pytest.raises(ValueError, match="several exclusive classes"):
        losses.prediction_correlation(TEACHER[:, :1], STUDENT[:, :1])
    with pytest.raises(ValueError, match="Expected `intra_class_weight` to be a number of at leas"):
        losses.PredictionCorrelation(intra_class_weight=-1.0)


@pytest.mark.tensorflow
def test_at_high_temperatures_logits_are_matched():
    """Equation 4 of Hinton et al. 2015: the gradient is (z - v) / classes, both centred.

    In float64: in float32 a difference of probabilities keeps too few digits.
    """
    import tensorflow as tf

    rng = np.random.default_rng(0)
    teacher, student = map(tf.constant, rng.uniform(-5, 5, (2, 6, 10)))
    with tf.GradientTape() as tape:
        tape.watch(student)
        value = tf.reduce_sum(1e10 * kl_divergence(teacher, student, 1e5))
    assert value.dtype == tf.float64
    centred = [
        (logits - tf.reduce_mean(logits, -1, keepdims=True)).numpy()
        for logits in (student, teacher)
    ]
    gradient = tape.gradient(value, student).numpy()
    np.testing.assert_allclose(10 * gradient, centred[0] - centred[1], atol=1e-3)
    usual = losses.soft_targets(teacher, student, 1e5).numpy()
    expected = 1e10 * kl_divergence(teacher, student, 1e5).numpy()
    np.testing.assert_allclose(usual, expected, rtol=1e-2)  # In float32.
