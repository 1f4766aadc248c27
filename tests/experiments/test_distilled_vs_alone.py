"""What is said of a student that was distilled, beside the same student alone."""

import statistics

import pytest

from kdzoo.experiments.distilled_vs_alone import verdict


def said_of(alone, distilled, images, **settings):
    """The verdict on test accuracies by seed."""
    accuracies = {"alone": dict(enumerate(alone)), "distilled": dict(enumerate(distilled))}
    rows = [
        {"kind": kind, "seed": seed, "test_accuracy": value}
        for kind, values in accuracies.items()
        for seed, value in values.items()
    ]
    summary = {
        kind: {"mean": statistics.fmean(values.values())} for kind, values in accuracies.items()
    }
    return verdict(
        {"rows": rows, "summary": summary, "examples": {"test": images}, "settings": settings}
    )


@pytest.mark.parametrize(
    ("alone", "distilled", "wins", "words"),
    [
        # Gains of 10 and 20 points, whose sample deviation is 10 / sqrt(2).
        ([0.5, 0.7], [0.6, 0.9], 2, "15.00 points (± 7.07) more, which is 30.0 of 200 test images"),
        ([0.5, 0.7], [0.6, 0.5], 1, "5.00 points (± 21.21) fewer, which is 10.0 of 200"),
        ([0.5, 0.75], [0.75, 0.5], 1, "on average as many of 200 test images were right"),
    ],
)
def test_says_what_was_measured(alone, distilled, wins, words):
    said = said_of(alone, distilled, 200)
    assert words in said
    assert f"in {wins} of 2 trainings, which differ in their seed: on average" in said


def test_says_over_how_many_splits_it_holds():
    said = said_of([0.5, 0.7, 0.6], [0.6, 0.9, 0.5], 200, split_by_seed=True)
    assert "in 2 of 3 splits of the data, each with its own training and test images: " in said


def test_compares_the_seeds_that_both_have():
    said = said_of([0.5, 0.9], [0.6], 10)
    assert said.endswith(
        "in 1 of 1 training: on average 10.00 points more, which is 1.0 of 10 test images."
    )
