"""Budgets kept and accuracies held on other samples, with made logits; files; unfit samples."""

import keras
import numpy as np
import pytest

from kdzoo.dynamic import BudgetedClassifier

_CLASSES, _COUNT = 10, 20_000
_MILLISECONDS = [1.2, 2.5, 6.0]
_SKILLS = (0.6, 1.1, 1.8)  # Of the exits.


def _samples(seed):
    """Logits of three exits, side by side, and labels: the harder a sample, the less sure all."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, _CLASSES, _COUNT)
    ease = rng.exponential(2.0, (_COUNT, 1))
    logits = [
        rng.normal(size=(_COUNT, _CLASSES)) + skill * ease * np.eye(_CLASSES)[labels]
        for skill in _SKILLS
    ]
    return np.concatenate(logits, -1).astype("float32"), labels


@pytest.fixture(scope="module")
def validation():
    return _samples(1)


@pytest.fixture(scope="module")
def test():
    return _samples(2)


@pytest.fixture(scope="module")
def network():
    """A network whose exits give what its input says that they give."""
    inputs = x = keras.Input((3 * _CLASSES,))
    outputs = []
    for number in range(3):
        outputs.append(x[:, :_CLASSES])
        if number < 2:
            x = keras.layers.Activation("linear", name=f"rest{number}")(x[:, _CLASSES:])
    return keras.Model(inputs, outputs)


@pytest.mark.parametrize("rule", ["geometric", "skipping", "shared"])
@pytest.mark.parametrize("confidence", ["max_probability", "entropy", "margin"])
@pytest.mark.parametrize("budget", [1.5, 3.0, 4.5])
def test_a_budget_in_milliseconds_holds_for_other_samples(
    network, validation, test, rule, confidence, budget
):
    classifier = BudgetedClassifier(network, confidence, costs=_MILLISECONDS)
    fitted = classifier.fit(*validation, budget=budget, rule=rule, batch_size=_COUNT)
    assert 0.99 * budget <= fitted.mean_cost <= budget
    report = classifier.evaluate(*test, batch_size=_COUNT)
    assert report.mean_cost == pytest.approx(budget, rel=0.05)
    assert report.accuracy == pytest.approx(fitted.accuracy, abs=0.01)
    # Better than to stop all samples where the budget is used up.
    affordable = classifier.exit_within(budget)
    assert report.accuracy > report.exit_accuracies[affordable - 1]


@pytest.mark.parametrize("rule", ["geometric", "skipping", "shared"])
def test_an_accuracy_holds_for_other_samples_at_less_cost(network, validation, test, rule):
    classifier = BudgetedClassifier(network, costs=_MILLISECONDS)
    best = classifier.fit(*validation, budget=6.0, batch_size=_COUNT).exit_accuracies[-1]
    fitted = classifier.fit(*validation, accuracy=best - 0.01, rule=rule, batch_size=_COUNT)
    assert fitted.accuracy >= best - 0.01
    predictions = classifier.predict(test[0], batch_size=_COUNT)
    accuracy = (predictions.classes == test[1]).mean()
    assert accuracy == pytest.approx(fitted.accuracy, abs=0.01)
    assert predictions.mean_cost == pytest.approx(fitted.mean_cost, rel=0.05)
    assert predictions.mean_cost < 0.9 * _MILLISECONDS[-1]


def test_thresholds_are_saved_and_loaded(network, validation, test, tmp_path):
    path = tmp_path / "thresholds.json"
    classifier = BudgetedClassifier(network, "margin", costs=_MILLISECONDS)
    with pytest.raises(ValueError, match="call `fit`"):
        classifier.save_thresholds(path)
    classifier.fit(*validation, budget=3.0, batch_size=_COUNT)
    classifier.save_thresholds(path)
    network.save(tmp_path / "network.keras")
    loaded = BudgetedClassifier(
        keras.models.load_model(tmp_path / "network.keras"), costs=[1.0, 2.0, 3.0]
    )
    loaded.load_thresholds(path)
    assert loaded.thresholds == classifier.thresholds
    assert (loaded.costs, loaded.confidence) == (_MILLISECONDS, "margin")
    found, expected = (made.predict(test[0][:500]) for made in (loaded, classifier))
    np.testing.assert_array_equal(found.exits, expected.exits)
    classifier.thresholds = [0.25, np.inf]
    classifier.save_thresholds(path)
    loaded.load_thresholds(path)
    assert loaded.thresholds == [0.25, np.inf]


def _dense_exits(seed):
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((4,))
    x = keras.layers.Dense(4, name="x")(inputs)
    return keras.Model(inputs, [keras.layers.Dense(3)(inputs), keras.layers.Dense(3)(x)])


def test_files_of_thresholds_that_do_not_fit(tmp_path):
    path = tmp_path / "thresholds.json"
    classifier = BudgetedClassifier(_dense_exits(0))
    classifier.thresholds = [0.5]
    classifier.save_thresholds(path)
    with pytest.raises(ValueError, match="other weights"):
        BudgetedClassifier(_dense_exits(1)).load_thresholds(path)
    text = path.read_text()
    for changed, message in (
        (text.replace("0.5", "0.6"), "altered"),
        (text.replace('"thresholds": [', '"thresholds": ["a", '), "'thresholds'"),
        (text.replace("max_probability", "sure"), "'confidence'"),
        ("[1]", "thresholds"),
    ):
        path.write_text(changed)
        with pytest.raises(ValueError, match=message):
            classifier.load_thresholds(path)
    assert classifier.thresholds == [0.5]


def test_samples_that_are_unfit_to_choose_thresholds(network, validation):
    x, y = validation[0][:400], validation[1][:400]
    classifier = BudgetedClassifier(network, costs=_MILLISECONDS)
    with pytest.raises(ValueError, match=r"at least 3 validation samples.*Received: 2"):
        classifier.fit(x[:2], y[:2], budget=3.0)
    with pytest.warns(UserWarning, match="Received: none of class 3, 8"):
        classifier.fit(x[(y != 3) & (y != 8)], y[(y != 3) & (y != 8)], budget=3.0)
    broken = x.copy()
    broken[7, 3] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        classifier.fit(broken, y, budget=3.0)
    with pytest.raises(ValueError, match="label=nan"):
        classifier.fit(x, np.where(y == 3, np.nan, y), budget=3.0)
    with pytest.raises(ValueError, match="at least one sample"):
        classifier.fit(x[:0], y[:0], budget=3.0)
    # All are equally sure: a budget is either not used or exceeded.
    same = np.tile(x[:1], (400, 1))
    with pytest.warns(UserWarning, match=r"400 samples, a mean cost of 2\.5 for budget=3"):
        classifier.fit(same, y, budget=3.0)


def test_what_belongs_to_the_thresholds_is_not_set_alone(network):
    classifier = BudgetedClassifier(network, costs=_MILLISECONDS)
    with pytest.raises(AttributeError):
        classifier.confidence = "entropy"
    with pytest.raises(ValueError, match=r"^Expected costs to be 3 numbers above 0 that increase"):
        classifier.costs = [3.0, 2.0, 1.0]
    classifier.costs = np.array([1.0, 2.0, 3.0])
    assert classifier.exit_within(2.5) == 2
    classifier.thresholds = np.array([0.25, np.inf])
    assert classifier.thresholds == [0.25, np.inf]
