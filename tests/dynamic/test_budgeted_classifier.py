"""Exits chosen by confidence: thresholds, costs and accuracies against NumPy."""

import keras
import numpy as np
import pytest
from sklearn.datasets import load_digits

from kdzoo.dynamic import BudgetedClassifier, ExitLearner, add_exits
from kdzoo.dynamic.thresholds import accuracy_of, exits_taken, fit_to_accuracy, fit_to_budget
from kdzoo.graph.confidence import confidence_of

_LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


@pytest.fixture(scope="module")
def digits():
    images, labels = load_digits(return_X_y=True)
    return (images / 16).astype("float32"), labels


@pytest.fixture(scope="module")
def network(digits):
    """A network of three exits that was taught for a few epochs."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((64,)),
            layers.Dense(6, "relu", name="one"),
            layers.Dense(24, "relu", name="two"),
            layers.Dense(48, "relu", name="three"),
            layers.Dense(10, name="logits"),
        ]
    )
    exits = add_exits(model, at=["one", "two"])
    learner = ExitLearner(exits)
    learner.compile(keras.optimizers.Adam(0.01), _LOSS)
    images, labels = digits
    learner.fit(images[:1000], labels[:1000], epochs=8, verbose=0)
    return exits


def test_confidences_are_those_of_the_formulas():
    logits = np.log([[0.7, 0.2, 0.1], [1 / 3, 1 / 3, 1 / 3]])
    np.testing.assert_allclose(confidence_of(logits), [0.7, 1 / 3])
    np.testing.assert_allclose(confidence_of(logits, "margin"), [0.5, 0], atol=1e-12)
    entropy = -(0.7 * np.log(0.7) + 0.2 * np.log(0.2) + 0.1 * np.log(0.1)) / np.log(3)
    np.testing.assert_allclose(confidence_of(logits, "entropy"), [1 - entropy, 0], atol=1e-12)


@pytest.mark.parametrize("rule", ["geometric", "shared"])
@pytest.mark.parametrize("budget", [1.5, 3.0, 6.0, 9.5])
def test_a_budget_is_kept_and_used(rule, budget):
    confidences = np.random.default_rng(0).uniform(size=(4, 5000))
    are_right = np.ones((4, 5000), bool)
    costs = [1.0, 2.0, 5.0, 10.0]
    thresholds = fit_to_budget(confidences, are_right, costs, budget, rule)
    taken = exits_taken(confidences, thresholds)
    cost = np.asarray(costs)[taken].mean()
    assert 0.99 * budget <= cost <= budget
    if rule == "geometric":
        counts = np.bincount(taken, minlength=4)
        ratios = counts[1:] / counts[:-1]
        np.testing.assert_allclose(ratios, ratios.mean(), rtol=0.1)
    else:
        assert len(set(thresholds)) == 1


def test_an_exit_that_is_sure_and_wrong_is_skipped():
    generator = np.random.default_rng(2)
    confidences = generator.uniform(size=(4, 4000))
    # The first exit knows nothing; the second is right where it is sure, the others always.
    sure = confidences[1] > 0.5
    are_right = np.stack([generator.uniform(size=4000) < 0.1, sure, *np.ones((2, 4000), bool)])
    costs = [1.0, 2.0, 4.0, 8.0]
    best = {}
    for rule in ("geometric", "skipping"):
        for budget in (1.5, 2.0, 3.0, 4.0, 6.0, 8.0):
            thresholds = fit_to_budget(confidences, are_right, costs, budget, rule)
            cost = np.asarray(costs)[exits_taken(confidences, thresholds)].mean()
            assert 0.99 * budget <= cost <= budget
            best[rule, budget] = accuracy_of(confidences, are_right, thresholds)
    for budget in (1.5, 2.0, 3.0, 4.0, 6.0, 8.0):
        at_one = [are_right[place].mean() for place in range(4) if costs[place] <= budget]
        assert best["skipping", budget] >= max(best["geometric", budget], *at_one)
    # Half stop at the second, half at the third: all are right at a cost of 3.
    assert best["skipping", 3.0] > 0.99 > best["geometric", 3.0] + 0.1
    thresholds = fit_to_accuracy(confidences, are_right, costs, 0.99, "skipping")
    assert np.asarray(costs)[exits_taken(confidences, thresholds)].mean() < 3.5


def test_an_accuracy_is_reached_at_the_least_cost():
    generator = np.random.default_rng(1)
    confidences = generator.uniform(size=(2, 4000))
    # The first exit is right where it is sure, the last one always.
    are_right = np.stack([confidences[0] > 0.5, np.ones(4000, bool)])
    thresholds = fit_to_accuracy(confidences, are_right, [1.0, 4.0], 1.0)
    assert thresholds[0] == pytest.approx(0.5, abs=0.02)
    half = np.stack([are_right[0], are_right[0]])
    with pytest.raises(ValueError, match=r"at most 0\.(49|50)"):
        fit_to_accuracy(confidences, half, [1.0, 4.0], 0.95)


@pytest.mark.large_on_jax
def test_predictions_stop_where_the_report_says(network, digits):
    images, labels = digits
    classifier = BudgetedClassifier(network)
    low, high = classifier.costs[0], classifier.costs[-1]
    assert [low, high] == [64 * 6 + 60, 64 * 6 + 60 + 6 * 24 + 240 + 24 * 48 + 480]
    budget = (low + high) / 2
    fitted = classifier.fit(images[1000:1400], labels[1000:1400], budget=budget)
    assert 0.95 * budget <= fitted.mean_cost <= budget
    report = classifier.evaluate(images[1400:], labels[1400:])
    predictions = classifier.predict(images[1400:], batch_size=50)
    assert predictions.mean_cost == pytest.approx(report.mean_cost)
    assert (predictions.classes == labels[1400:]).mean() == pytest.approx(report.accuracy)
    # By hand, from what the whole network gives.
    outputs = network.predict(images[1400:], verbose=0)
    confidences = np.stack([confidence_of(output) for output in outputs])
    taken = exits_taken(confidences, classifier.thresholds)
    assert np.array_equal(predictions.exits, taken + 1)
    rows = np.arange(len(taken))
    np.testing.assert_allclose(predictions.logits, np.stack(outputs)[taken, rows], atol=1e-5)
    assert report.fractions == [float((taken == place).mean()) for place in range(3)]
    assert min(report.fractions) > 0


def test_anytime_predictions_come_one_after_the_other(network, digits):
    images, _ = digits
    classifier = BudgetedClassifier(network, costs=[1.0, 2.0, 4.0])
    outputs = list(classifier.anytime(images[:7]))
    for one, other in zip(outputs, network.predict(images[:7], verbose=0), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    assert classifier.exit_within(3.9) == 2
    with pytest.raises(ValueError, match="at least 1"):
        classifier.exit_within(0.5)


def test_models_that_give_no_logits(network):
    inputs = keras.Input((4,))
    x = keras.layers.Dense(3, name="x")(inputs)
    outputs = [keras.layers.Dense(2)(inputs), keras.layers.Dense(2, "softmax")(x)]
    with pytest.raises(ValueError, match="softmax"):
        BudgetedClassifier(keras.Model(inputs, outputs))
    with pytest.raises(ValueError, match="two classes or more"):
        BudgetedClassifier(
            keras.Model(inputs, [keras.layers.Dense(1)(inputs), keras.layers.Dense(1)(x)])
        )
    broken = keras.models.clone_model(network)
    broken.set_weights([weight * np.nan for weight in network.get_weights()])
    classifier = BudgetedClassifier(broken)
    classifier.thresholds = [0.5, 0.5]
    with pytest.raises(ValueError, match="NaN"):
        classifier.predict(np.ones((2, 64), "float32"))


def test_wrong_use(network, digits):
    images, labels = digits[0][:50], digits[1][:50]
    classifier = BudgetedClassifier(network)
    with pytest.raises(ValueError, match="call `fit`"):
        classifier.predict(images)
    with pytest.raises(ValueError, match="at least 444, the cost of the first exit"):
        classifier.fit(images, labels, budget=100)
    with pytest.raises(ValueError, match="a budget or an accuracy"):
        classifier.fit(images, labels)
    with pytest.raises(ValueError, match="without labels"):
        classifier.fit(images, budget=1000)
    with pytest.raises(ValueError, match=r"^Expected an array as samples"):
        next(classifier.anytime("abc"))
    with pytest.raises(ValueError, match="2 thresholds"):
        classifier.thresholds = [0.5]
    with pytest.raises(ValueError, match=r"^Expected costs to be 3 numbers above 0 that increase"):
        BudgetedClassifier(network, costs=[1, 1, 2])
    with pytest.raises(ValueError, match="Unknown confidence"):
        BudgetedClassifier(network, confidence="entropi")
