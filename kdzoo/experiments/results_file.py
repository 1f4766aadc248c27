"""`results.json`: a row for each model, the mean and spread of each stage, and the versions."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from kdzoo.experiments.finished_stages import Runs
from kdzoo.experiments.package_versions import versions
from kdzoo.experiments.run_json_files import write_json

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


def write_results(runs: Runs, data: Mapping[str, Any]) -> dict[str, Any]:
    """Writes what is finished of an experiment to `results.json`, and returns it.

    Raises:
        ValueError: If a model was made with other settings than the experiment has.
    """
    rows = runs.rows()
    names = dict.fromkeys(row["kind"] for row in rows)
    results = {
        "settings": runs.experiment.described(),
        "summary": {name: summarize(rows, name) for name in names},
        **data,
        "versions": versions(),
        "rows": rows,
    }
    write_json(runs.of_run(runs.experiment.name) / "results.json", results)
    return results
