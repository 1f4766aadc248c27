"""What a stage's seeds give together: the mean, the spread, and which seed is the median."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

_AVERAGED = ("bytes", "gzipped_bytes")  # Of stages that measure a file.


def summarize(rows: Sequence[Mapping[str, Any]], name: str) -> dict[str, Any]:
    """Returns mean and sample deviation of a stage's test accuracy, and the median's seed."""
    ours = [row for row in rows if row["kind"] == name]
    ranked = sorted((row["test_accuracy"], row["seed"]) for row in ours)
    values = [value for value, _ in ranked]
    return {
        "mean": statistics.fmean(values),
        "std": statistics.stdev(values) if len(values) > 1 else 0.0,
        "median_seed": ranked[(len(ranked) - 1) // 2][1],
        **{
            field: round(statistics.fmean(row[field] for row in ours))
            for field in _AVERAGED
            if all(field in row for row in ours)
        },
    }
