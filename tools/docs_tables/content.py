"""What the tables are written from, and in which form."""

import json
import pathlib
import statistics
from collections.abc import Mapping, Sequence

ROOT = pathlib.Path(__file__).resolve().parents[2]
Table = list[list[str]]


def results(name: str) -> dict:
    """Returns the content of `results/NAME.json`, e.g. of `"benchmarks/load_time"`."""
    return json.loads((ROOT / "results" / f"{name}.json").read_text(encoding="utf-8"))


def spread(summary: Mapping[str, float], seeds: int) -> str:
    """Returns an accuracy in percent: the mean, with ± its deviation over several seeds."""
    mean = f"{100 * summary['mean']:.2f}"
    return mean if seeds == 1 else f"{mean} ± {100 * summary['std']:.2f}"


def variants(content: Mapping) -> dict[str, list[dict]]:
    """Returns variant -> its rows, a row a seed, of the results of a recipe."""
    found: dict[str, list[dict]] = {name: [] for name in content["summary"]}
    for row in content["rows"]:
        found[row["kind"]].append(row)
    return found


def error_cells(found: Sequence[int]) -> list[str]:
    """The test errors of several seeds, and their mean where there are several."""
    mean = f"{statistics.fmean(found):.1f}" if len(found) > 1 else ""
    return [", ".join(map(str, found)), mean]
