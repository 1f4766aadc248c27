"""Schedules that are made for a training: they prune often enough, and end before it does."""

import warnings

import keras
import numpy as np
import pytest

from kdzoo.compression import (
    ConstantSparsity,
    PolynomialDecay,
    UpdatePruningStep,
    prune_low_magnitude,
    schedule_over_epochs,
)
from kdzoo.compression.tfmot.pruning_start import warn_of_the_schedule

pytestmark = pytest.mark.tensorflow


def pruned_at(schedule, steps):
    """Step -> sparsity, of the steps in which the schedule of TF-MOT prunes."""
    answers = {step: schedule(step) for step in range(1, steps + 1)}
    return {step: float(sparsity) for step, (fires, sparsity) in answers.items() if fires}


def test_it_follows_the_cubic_law_of_the_paper():
    """Zhu & Gupta, equation 1: s_f + (s_i - s_f) (1 - t / n)^3, over two thirds of 150 steps."""
    schedule = schedule_over_epochs(0.8, epochs=10, samples=480, initial_sparsity=0.2)
    assert isinstance(schedule, PolynomialDecay)
    found = pruned_at(schedule, 150)
    assert list(found) == list(range(1, 101))
    for step, sparsity in found.items():
        assert sparsity == pytest.approx(0.8 - 0.6 * (1 - step / 100) ** 3, abs=1e-6)


@pytest.mark.parametrize(
    ("epochs", "samples", "batch_size"),
    [
        *((1, 1, 32), (1, 64, 32), (3, 100, 7)),
        pytest.param(30, 40_000, 128, marks=pytest.mark.large),
    ],
)
def test_it_reaches_its_sparsity_and_leaves_time_to_recover(epochs, samples, batch_size):
    steps = epochs * int(np.ceil(samples / batch_size))
    schedule = schedule_over_epochs(0.9, epochs, samples, batch_size)
    found = pruned_at(schedule, steps)
    assert len(found) <= 110
    assert found[max(found)] == pytest.approx(0.9, abs=1e-4)
    assert max(found) <= max(1, 2 * steps / 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_the_schedule(schedule, 1, steps)


def test_all_at_once():
    schedule = schedule_over_epochs(0.5, 2, 640, initial_sparsity=0.5)
    assert isinstance(schedule, ConstantSparsity)
    assert pruned_at(schedule, 40) == dict.fromkeys(range(1, 41), 0.5)


def test_a_short_training_is_pruned():
    model = keras.Sequential([keras.Input((20,)), keras.layers.Dense(10)])
    pruned = prune_low_magnitude(model, schedule_over_epochs(0.8, epochs=2, samples=96))
    pruned.compile("sgd", "mse")
    x, y = np.random.default_rng(0).random((96, 20)), np.zeros((96, 10))
    pruned.fit(x, y, epochs=2, verbose=0, callbacks=[UpdatePruningStep()])
    assert pruned.sparsity() == {model.layers[0].name: pytest.approx(0.8, abs=0.01)}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"final_sparsity": 0}, "final_sparsity above 0"),
        ({"final_sparsity": 1}, r"lie in \[0, 1\)"),
        ({"final_sparsity": 0.5, "initial_sparsity": 0.6}, "initial_sparsity no higher"),
        ({"final_sparsity": 0.5, "epochs": 0}, "epochs=0"),
        ({"final_sparsity": 0.5, "samples": 0}, "samples=0"),
        ({"final_sparsity": 0.5, "batch_size": 1.5}, "batch_size=1.5"),
    ],
)
def test_what_is_out_of_range_is_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        schedule_over_epochs(**{"epochs": 1, "samples": 10, **arguments})
