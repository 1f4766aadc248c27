"""`results.json`: a row for each model, the mean and spread of each stage, and the versions."""

from collections.abc import Mapping
from typing import Any

from kdzoo.experiments.finished_stages import Runs
from kdzoo.experiments.package_versions import versions
from kdzoo.experiments.run_json_files import write_json
from kdzoo.experiments.summary_over_seeds import summarize


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
