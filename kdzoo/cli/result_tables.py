"""Tables of what experiments measured, for `kdzoo train` and `kdzoo compress`."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kdzoo.cli import terminal

if TYPE_CHECKING:
    from rich.table import Table


def of_comparison(results: Mapping[str, Any]) -> "Table":
    """Returns the table of an experiment: a row for each stage.

    Args:
        results: What `Experiment.run` returned.
    """
    settings = results["settings"]
    paper = settings.get("paper") or {}
    stages = {stage["name"]: stage for stage in settings["stages"]}
    columns = [">test errors", ">in the paper"] if paper else []
    costs = any(_macs(row) for row in results["rows"])
    columns += [">MACs"] * costs
    table = terminal.table("model", ">test accuracy", *columns, ">parameters", ">seconds")
    for name, summary in results["summary"].items():
        stage = stages[name]
        built = stage.get("architecture", stage.get("model", "")), stage.get("arguments", {})
        rows = [row for row in results["rows"] if row["kind"] == name]
        errors = " ".join(str(row.get("test_errors", "")) for row in rows if paper).strip()
        table.add_row(
            f"{name}: {terminal.architecture(*built)}",
            _accuracy(summary, rows),
            *([errors, str(paper.get(name, ""))] if paper else []),
            *([_mean([_macs(row) for row in rows], "macs", "{:,.0f}".format)] * costs),
            _mean(rows[:1], "parameters", "{:,}".format),
            _mean(rows, "seconds", "{:.1f}".format),
        )
    return table


def _macs(row: Mapping[str, Any]) -> dict[str, float]:
    """The multiply-accumulates of an image, as far as a row says them.

    Of a network that stops when it is sure they are the mean; else of its last exit or width.
    """
    for name in ("mean_macs", "macs"):
        if name in row:
            return {"macs": row[name]}
    several = row.get("exit_macs") or row.get("width_macs")
    return {"macs": several[-1]} if several else {}


def of_compressions(results: Mapping[str, Any]) -> "Table":
    """Returns the table of an experiment of compression: a row for each stage.

    Args:
        results: What `Experiment.run` returned.
    """
    table = terminal.table(
        "file", ">test accuracy", ">as Keras", ">bytes", ">after gzip", ">zeros", ">seconds"
    )
    for stage, summary in results["summary"].items():
        rows = [row for row in results["rows"] if row["kind"] == stage]
        table.add_row(
            stage,
            _accuracy(summary, rows),
            _mean(rows, "agreement", terminal.percent),
            _mean([summary], "bytes", "{:,}".format),
            _mean([summary], "gzipped_bytes", "{:,}".format),
            _mean(rows, "sparsity", terminal.percent),
            _mean(rows, "seconds", "{:.1f}".format),
        )
    return table


def before_and_after(result: Sequence[Mapping[str, Any]], title: str) -> "Table":
    """Returns the table of one model that was compressed.

    Args:
        result: What was measured before, and after.
        title: What stands above it.
    """
    table = terminal.table("measure", ">before", ">after", title=title)
    before, after = result
    for name, key, show in (
        ("accuracy of the file", "test_accuracy", _percent),
        ("accuracy in Keras", "keras_accuracy", _percent),
        ("file and Keras agree", "agreement", _percent),
        ("zeros among the weights", "sparsity", terminal.percent),
        ("bytes", "bytes", "{:,}".format),
        ("bytes after gzip", "gzipped_bytes", "{:,}".format),
        ("bytes of the weights", "plain_bytes", "{:,}".format),
        ("ms per image, median", "median_ms", "{:.3g}".format),
    ):
        if key in after:  # Files of Keras are not timed or compared with it.
            table.add_row(name, show(before[key]), show(after[key]))
    return table


def _percent(fraction: float) -> str:
    return terminal.percent(fraction, 2)


def _accuracy(summary: Mapping[str, Any], rows: Sequence[Any]) -> str:
    """The test accuracy of a stage, with its spread if there are several seeds."""
    return terminal.mean_and_std(summary) if len(rows) > 1 else terminal.percent(summary["mean"])


def _mean(rows: Sequence[Mapping[str, Any]], name: str, show: Callable[[Any], str]) -> str:
    """The mean of what some rows say as text; nothing where one does not say it."""
    values = [row.get(name) for row in rows]
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return ""
    return show(known[0] if len(known) == 1 else statistics.fmean(known))
