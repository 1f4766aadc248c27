"""The tables of recipes that make networks smaller: fewer numbers, or fewer bits for each."""

import functools
import statistics
from collections.abc import Callable, Sequence

from kdzoo.recipes import RECIPES
from tools.docs_tables.content import Table, error_cells, results, spread, variants


def low_rank_lenet() -> Table:
    """LeNet-300-100 with a part of its parameters, before and after it was trained again."""
    content = results("low_rank_lenet")
    table = [["", "parameters", "ranks", "accuracy before training, %", "after, %", "test errors"]]
    largest_first = sorted(variants(content).items(), key=lambda item: -item[1][0]["parameters"])
    for name, rows in largest_first:
        ranks = [str(rank) for _, rank in rows[0].get("ranks", {}).values()]
        before = rows[0].get("untrained_test_accuracy", 0.0)
        cells = [name, f"{rows[0]['parameters']:,}", ", ".join(ranks)]
        cells += [f"{100 * before:.2f}" if ranks else ""]
        cells += [spread(content["summary"][name], len(rows))]
        table.append([*cells, ", ".join(str(row["test_errors"]) for row in rows)])
    return table


def deep_compression(recipe: str) -> Table:
    """Zeros, few values and Huffman codes: errors and bytes beside those of the paper.

    Args:
        recipe: The name of a recipe whose paper tells the errors of some variants.
    """
    content, paper = results(recipe), RECIPES[recipe].paper
    table = [["", "test errors by seed", "mean", "in the paper", "bytes", "times smaller"]]
    table[0] += ["gzipped weights", "zstd"]
    for name, rows in variants(content).items():
        cells = [name, *error_cells([row["test_errors"] for row in rows]), str(paper.get(name, ""))]
        for field, form in (
            *(("bytes", ",.0f"), ("times_smaller", ".1f")),
            *(("gzip_bytes", ",.0f"), ("zstd_bytes", ",.0f")),
        ):
            found = [row[field] for row in rows if field in row]
            cells.append(format(statistics.fmean(found), form) if found else "")
        table.append(cells)
    return table


def lottery_lenet() -> Table:
    """Tickets by what is left of the weights, and the controls of the last."""
    content = results("lottery_lenet")
    rates = variants(content)
    table = [["weights left, %", *(f"{name}: accuracy, %" for name in rates)]]
    first = next(iter(rates.values()))[0]
    for at, left in enumerate(first["weights_left"]):
        cells = [f"{100 * left:.1f}"]
        for rows in rates.values():
            cells.append(_mean([row["round_test_accuracies"][at] for row in rows]))
        table.append(cells)
    last = f"{100 * first['weights_left'][-1]:.1f}"
    for name in first["control_test_accuracies"]:
        cells = [f"{last}, {CONTROLS[name]}"]
        for rows in rates.values():
            cells.append(_mean([row["control_test_accuracies"][name] for row in rows]))
        table.append(cells)
    return table


CONTROLS = {
    "reinitialized": "new initial weights",
    "random_ticket": "at random places",
    "from_scratch": "new initial weights, for as long as all rounds",
}


def _mean(accuracies: Sequence[float]) -> str:
    """Accuracies of several seeds in percent, with their sample standard deviation."""
    mean = f"{100 * statistics.fmean(accuracies):.2f}"
    return mean if len(accuracies) == 1 else f"{mean} ± {100 * statistics.stdev(accuracies):.2f}"


def binary_connect_mnist() -> Table:
    """Weights of one bit: errors with them and with the real ones, and the bytes."""
    content, paper = results("binary_connect_mnist"), RECIPES["binary_connect_mnist"].paper
    table = [["", "errors, weights of one bit", "mean", "errors, real weights", "mean"]]
    table[0] += ["in the paper", "kernels, times smaller", "file, times smaller"]
    for name, rows in variants(content).items():
        binary = [row["binary_test_errors"] for row in rows if "binary_test_errors" in row]
        real = [row["test_errors"] for row in rows]
        cells = [name, *error_cells(binary), *error_cells([] if real == binary else real)]
        cells += [str(paper.get(name, ""))]
        for field in ("kernel_factor", "file_factor"):
            cells.append(f"{rows[0][field]:.1f}" if field in rows[0] else "")
        table.append(cells)
    return table


_FUNCTIONS = (low_rank_lenet, binary_connect_mnist)
_DEEP = ("deep_compression_lenet_300_100",)
TABLES: dict[str, Callable[[], Table]] = {
    **{function.__name__: function for function in _FUNCTIONS},
    **{name: functools.partial(deep_compression, name) for name in _DEEP},
}
