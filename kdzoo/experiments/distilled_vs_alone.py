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
    taught = [stage for stage in summary if stage not in ("teacher", "alone")]
    if "alone" not in summary or not taught:
        return ""
    best = max(taught, key=lambda stage: summary[stage]["mean"])
    ours, alone = (
        {row["seed"]: row["test_accuracy"] for row in results["rows"] if row["kind"] == stage}
        for stage in (best, "alone")
    )
    seeds = sorted(ours.keys() & alone.keys())
    means = [statistics.fmean(accuracies[seed] for seed in seeds) for accuracies in (ours, alone)]
    points = 100 * (means[0] - means[1])
    wins = sum(ours[seed] > alone[seed] for seed in seeds)
    if points:
        outcome = f"{'won' if points > 0 else 'lost'} by {abs(points):.2f} points of accuracy"
    else:
        outcome = "made no difference to accuracy"
    over = f"{len(seeds)} seeds" if len(seeds) > 1 else "1 seed"
    what = "Distilling" if len(taught) == 1 else f"The best, {best!r},"
    return (
        f"{what} {outcome} on {results['examples']['test']:,} test images: the mean over "
        f"{over}, of which it won {wins}."
    )
