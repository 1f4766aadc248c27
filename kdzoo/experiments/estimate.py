"""What is left to make of an experiment, and how long it will take."""

import pathlib
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kdzoo.experiments.finished_stages import RESULT, Runs
from kdzoo.experiments.run_json_files import read_result
from kdzoo.experiments.stage import Node

if TYPE_CHECKING:
    from kdzoo.experiments.experiment import Experiment

Rows = Callable[[str], Iterable[Mapping[str, Any]]]


def left(
    experiment: "Experiment",
    directory: pathlib.Path,
    names: Sequence[str] | None = None,
    is_finished: Callable[[Node], bool] | None = None,
) -> list[Node]:
    """Returns what is left to make of some stages, in order, with what they depend on.

    Raises:
        ValueError: If a model was made with other settings than the experiment has, or learned from
            another one than there is.
    """
    runs = Runs(experiment, pathlib.Path(directory))
    is_finished = is_finished or (lambda node: runs.row(node) is not None)
    return [node for node in experiment.needed(names) if not is_finished(node)]


def seconds(
    experiment: "Experiment",
    directory: pathlib.Path,
    nodes: Sequence[Node],
    known: Rows = lambda run: (),
) -> list[float | None]:
    """Returns how long each of some nodes will take, as far as it was timed before.

    Returns:
        Of each node the seconds that it took, or its stage with other seeds on average; None if
        nothing is known.
    """
    runs = Runs(experiment, pathlib.Path(directory))
    by_run = {}
    for run in dict.fromkeys(node.run for node in nodes):
        found = [read_result(path) for path in sorted(runs.of_run(run).glob(f"*/{RESULT}"))]
        by_run[run] = [*known(run), *found]
    return [_seconds(by_run[node.run], node) for node in nodes]


def _seconds(rows: Iterable[Mapping[str, Any]], node: Node) -> float | None:
    by_seed = {row["seed"]: row.get("seconds") for row in rows if row["kind"] == node.stage}
    timed = {seed: time for seed, time in by_seed.items() if time is not None}
    return timed.get(node.seed, statistics.fmean(timed.values()) if timed else None)
