"""The sentence that says whether a distilled student beat the same student trained alone."""

import statistics
from collections.abc import Mapping
from typing import Any


def verdict(results: Mapping[str, Any]) -> str:
    """Returns the sentence that says, from what was measured, whether distilling paid.

    Compared with the student alone is the student distilled or, where several are taught, the best
    of them, on the seeds that both have. Where no student is alone there is
    nothing to say.
    """
    summary = results["summary"]
    # An ensemble is no student.
    described = results["settings"].get("stages", ())
    others = {stage["name"] for stage in described if stage.get("type") == "EnsembleOf"}
    taught = [stage for stage in summary if stage not in ("teacher", "alone", *others)]
    if "alone" not in summary or not taught:
        return ""
    best = max(taught, key=lambda stage: summary[stage]["mean"])
    ours, alone = (
        {row["seed"]: row["test_accuracy"] for row in results["rows"] if row["kind"] == stage}
        for stage in (best, "alone")
    )
    gains = [100 * (ours[seed] - alone[seed]) for seed in sorted(ours.keys() & alone.keys())]
    who = "The distilled student" if len(taught) == 1 else f"The best student, {best!r},"
    return (
        f"{who} had a higher test accuracy than the student alone in "
        f"{sum(gain > 0 for gain in gains)} of {_trainings(results, len(gains))}: "
        f"{_difference(gains, results['examples']['test'])}."
    )


def _trainings(results: Mapping[str, Any], count: int) -> str:
    """Says over what the mean goes."""
    if results["settings"].get("split_by_seed"):
        what = "split" if count == 1 else "splits"
        return f"{count} {what} of the data, each with its own training and test images"
    return "1 training" if count == 1 else f"{count} trainings, which differ in their seed"


def _difference(gains: list[float], images: int) -> str:
    """Says the mean of the gains, in points of accuracy and in images."""
    mean = statistics.fmean(gains)
    if not mean:
        return f"on average as many of {images:,} test images were right"
    spread = f" (± {statistics.stdev(gains):.2f})" if len(gains) > 1 else ""
    more = "more" if mean > 0 else "fewer"
    return (
        f"on average {abs(mean):.2f} points{spread} {more}, which is "
        f"{abs(mean) * images / 100:.1f} of {images:,} test images"
    )
