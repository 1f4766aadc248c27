"""The tables of networks of several costs: exits by budget, exits by place, widths."""

import statistics
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from kdzoo.recipes import RECIPES
from kdzoo.zoo.manifest import read_manifest
from tools.docs_tables.content import Table, results, spread, variants

SCALED = "exits taught by the last one, scaled gradients"  # A stage of `msdnet_cifar10`.


def early_exit_mnist() -> Table:
    """LeNets that stop at their first exit when they are sure, beside one without exits."""
    content, paper = results("early_exit_mnist"), RECIPES["early_exit_mnist"].paper
    rows = variants(content)
    table = [
        [
            *("", "accuracy, %", "in the paper", "stop at the first exit, %"),
            *("mean MACs", "times fewer", "at 4 times fewer, %", "mean ms", "times as fast"),
            "with Python, ms",
        ]
    ]
    stopping = ("as in the paper", "self-taught", "taught")
    # The networks of one exit differ in their weights alone.
    alone_ms = statistics.fmean(
        row["litert"]["exits_alone_ms"][-1] for name in stopping for row in rows[name]
    )
    for name in ("alone", *stopping):
        found = rows[name]
        reported = f"{100 - paper[name] / 100:.2f}" if name in paper else ""
        cells = [name, spread(content["summary"][name], len(found)), reported]
        if name == "alone":
            table.append([*cells, "", f"{found[0]['macs']:,}", "", "", f"{alone_ms:.3f}", "", ""])
            continue
        stopped = 100 * statistics.fmean(row["fractions"][0] for row in found)
        macs = statistics.fmean(row["mean_macs"] for row in found)
        fewer = statistics.fmean(row["times_fewer_macs"] for row in found)
        files = [row["litert"] for row in found]
        ms, by_runner = (
            statistics.fmean(file[name] for file in files)
            for name in ("mean_signatures_ms", "mean_ms")
        )
        faster = statistics.fmean(
            file["exits_alone_ms"][-1] / file["mean_signatures_ms"] for file in files
        )
        table.append([*cells, f"{stopped:.1f}", f"{macs:,.0f}", f"{fewer:.2f}"])
        table[-1] += [_of([at_a_quarter(row) for row in found]), f"{ms:.3f}", f"{faster:.2f}"]
        table[-1].append(f"{by_runner:.3f}")
    return table


def at_a_quarter(row: dict) -> float:
    """Returns the accuracy at the largest budget that is a quarter of all costs or less.

    Args:
        row: The row of thresholds.
    """
    points = [point for point in row["curve"] if 4 * point["budget"] <= row["macs"]]
    return max(points, key=lambda point: point["budget"])["test_accuracy"]


def msdnet_budgets() -> Table:
    """Networks of one cost each, beside one network that stops when it is sure, at their cost."""
    rows = {name: found[0] for name, found in variants(results("msdnet_cifar10")).items()}
    costs, accuracies = curve(rows["budgets"], rows["exits"])
    table = [["", "MACs", "accuracy, %", "with exits, at these MACs, %", "points"]]
    for row in (*exits_alone(rows), *students(rows)):
        macs, accuracy = row["macs"], row["test_accuracy"]
        cells = [row["kind"], f"{macs:,}", f"{100 * accuracy:.2f}"]
        if costs[0] <= macs <= costs[-1]:
            ours = float(np.interp(macs, costs, accuracies))
            cells += [f"{100 * ours:.2f}", f"{100 * (ours - accuracy):+.2f}"]
        table.append([*cells, *[""] * (5 - len(cells))])
    return table


def msdnet_trainings() -> Table:
    """Each exit of one network by two ways of training it, and of that exit trained alone."""
    rows = {name: found[0] for name, found in variants(results("msdnet_cifar10")).items()}
    table = [["", *(f"exit {number}, %" for number in (1, 2, 3, 4))]]
    ways = {
        "each exit alone": [row["test_accuracy"] for row in exits_alone(rows)],
        "sum of losses": rows["exits"]["exit_test_accuracies"],
        "taught by the last exit, scaled gradients": rows[SCALED]["exit_test_accuracies"],
    }
    for name, accuracies in ways.items():
        table.append([name, *(f"{100 * accuracy:.2f}" for accuracy in accuracies)])
    return table


def exits_alone(rows: Mapping[str, dict]) -> list[dict]:
    """Returns the rows of networks that were cut at an exit and trained alone.

    Args:
        rows: Rows of `msdnet_cifar10` by name.
    """
    return [rows[f"exit {number} alone"] for number in (1, 2, 3, 4)]


def students(rows: Mapping[str, dict]) -> list[dict]:
    """Returns the rows of students of the zoo, with their multiply-accumulates.

    Args:
        rows: Rows of `msdnet_cifar10` by name.
    """
    manifest = read_manifest()
    return [
        {**rows[name], "macs": manifest[f"{name}/cifar10"].measured["macs"]}
        for name in ("separable_025", "separable_050")
    ]


def curve(budgets: dict, exits: dict) -> tuple[Sequence[float], Sequence[float]]:
    """Returns mean costs, increasing, and accuracies of a network that stops when it is sure.

    Args:
        budgets: The row of its thresholds.
        exits: The row of the network: its first and last exit end the curve.
    """
    points = [(point["mean_macs"], point["test_accuracy"]) for point in budgets["curve"]]
    ends = [*zip(exits["exit_macs"], exits["exit_test_accuracies"], strict=True)]
    ordered = sorted([ends[0], *points, ends[-1]])
    return [cost for cost, _ in ordered], [accuracy for _, accuracy in ordered]


def msdnet_exits() -> Table:
    """What a last exit loses by a first one, by where that stands."""
    content = results("msdnet_cifar10")
    rows = {name: found[0] for name, found in variants(content).items()}
    table = [["", "first exit", "its MACs, %", "its accuracy, %", "last exit, %", "points"]]
    for network in ("residual", "MSDNet"):
        alone = rows[f"{network}, last exit alone"]["test_accuracy"]
        table.append([network, "none", "", "", f"{100 * alone:.2f}", ""])
        for place, (cost, gain) in last_exit_by_place(network, rows).items():
            accuracies = rows[f"{network}, first exit {place}"]["exit_test_accuracies"]
            of_both = [f"{100 * accuracy:.2f}" for accuracy in accuracies]
            table.append([network, place, f"{cost:.0f}", *of_both, f"{gain:+.2f}"])
    return table


def last_exit_by_place(network: str, rows: Mapping[str, dict]) -> dict[str, tuple[float, float]]:
    """Returns by place what a first exit costs and what the last one gains by it.

    Args:
        network: "residual" or "MSDNet".
        rows: Rows of `msdnet_cifar10` by name.

    Returns:
        Place -> cost of the first exit in percent of the last one's, and percentage points of the
        last exit's accuracy above the one that was trained alone.
    """
    alone = rows[f"{network}, last exit alone"]["test_accuracy"]
    start, found = f"{network}, first exit ", {}
    for name in (name for name in rows if name.startswith(start)):
        (first, last), accuracies = rows[name]["exit_macs"], rows[name]["exit_test_accuracies"]
        found[name.removeprefix(start)] = (100 * first / last, 100 * (accuracies[-1] - alone))
    return found


def slimmable_cifar10() -> Table:
    """Each width of a slimmable network, beside the network of that width trained alone."""
    content = results("slimmable_cifar10")
    rows = variants(content)
    widths = rows["switchable"][0]["widths"]
    (universal,) = rows["universal"]
    table = [["width", "parameters", "MACs", "alone, %", "slimmable, %", "points", "universal, %"]]
    for place, width in enumerate(widths):
        alone = {row["seed"]: row["test_accuracy"] for row in rows[f"width {width:g}, alone"]}
        ours = {row["seed"]: row["width_test_accuracies"][place] for row in rows["switchable"]}
        gains = [f"{100 * (accuracy - alone[seed]):+.1f}" for seed, accuracy in ours.items()]
        first = rows["switchable"][0]
        cells = [f"{width:g}", f"{first['width_parameters'][place]:,}"]
        cells.append(f"{first['width_macs'][place]:,}")
        cells += [_of(list(alone.values())), _of(list(ours.values())), ", ".join(gains)]
        among = universal["widths"].index(width)
        table.append([*cells, f"{100 * universal['width_test_accuracies'][among]:.2f}"])
    return table


def _of(accuracies: Sequence[float]) -> str:
    summary = {"mean": statistics.fmean(accuracies), "std": float(np.std(accuracies, ddof=1))}
    return spread(summary, len(accuracies))


_FUNCTIONS: tuple[Callable[[], Table], ...] = (
    early_exit_mnist,
    msdnet_trainings,
    msdnet_budgets,
    msdnet_exits,
)
"""Those whose recipes are trained."""
TABLES: dict[str, Callable[[], Table]] = {function.__name__: function for function in _FUNCTIONS}
