"""What is said of a student that was distilled, beside the same student alone."""

import numpy as np
import pytest

from kdzoo.experiments.distilled_vs_alone import verdict


@pytest.mark.parametrize(
    ("alone", "distilled", "words"),
    [
        ([0.5, 0.7], [0.6, 0.9], "won by 15.00 points of accuracy on 797 test images"),
        ([0.5, 0.7], [0.6, 0.5], "lost by 5.00 points"),
        ([0.5, 0.7], [0.7, 0.5], "made no difference to accuracy on 797 test images"),
    ],
)
def test_says_what_was_measured(alone, distilled, words):
    rows = [
        {"kind": kind, "seed": seed, "test_accuracy": value}
        for kind, values in (("alone", alone), ("distilled", distilled))
        for seed, value in enumerate(values)
    ]
    summary = {"alone": {"mean": np.mean(alone)}, "distilled": {"mean": np.mean(distilled)}}
    said = verdict({"rows": rows, "summary": summary, "examples": {"test": 797}})
    assert words in said
    assert f"over 2 seeds, of which it won {sum(np.less(alone, distilled))}." in said


def test_compares_the_seeds_that_both_have():
    accuracies = {("alone", 0): 0.5, ("alone", 1): 0.9, ("distilled", 0): 0.6}
    rows = [
        {"kind": kind, "seed": seed, "test_accuracy": accuracy}
        for (kind, seed), accuracy in accuracies.items()
    ]
    summary = {"alone": {"mean": 0.7}, "distilled": {"mean": 0.6}}
    said = verdict({"rows": rows, "summary": summary, "examples": {"test": 10}})
    assert "won by 10.00 points" in said
    assert "over 1 seed, of which it won 1." in said
