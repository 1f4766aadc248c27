"""The tables of recipes in which several models teach, or the transfer set is another one."""

import functools
import statistics
from collections.abc import Callable

from kdzoo.recipes import RECIPES
from tools.docs_tables.content import Table, error_cells, results, spread, variants

# Recipe -> the classes whose errors have columns of their own.
_CLASSES = {"hinton_mnist_without_3": (3,), "hinton_mnist_only_7_8": (7, 8)}


def hinton_transfer(recipe: str) -> Table:
    """Students that saw a part of the digits, and what their biases do.

    Args:
        recipe: A key of `_CLASSES`.
    """
    content, paper, classes = results(recipe), RECIPES[recipe].paper, _CLASSES[recipe]
    named = " and ".join(map(str, classes))
    table = [["", "test errors by seed", "mean", "in the paper", f"of {named}", "mean"]]
    for name, rows in variants(content).items():
        by_class = [row["test_errors_by_class"] for row in rows if "test_errors_by_class" in row]
        of_classes = [sum(found[label] for label in classes) for found in by_class]
        cells = [name, *error_cells([row["test_errors"] for row in rows])]
        table.append([*cells, str(paper.get(name, "")), *error_cells(of_classes)])
    return table


def hard_weight_digits() -> Table:
    """A student by how much the labels weigh, beside itself alone, split by split."""
    content = results("hard_weight_digits")
    rows = variants(content)
    alone = {row["seed"]: row["test_accuracy"] for row in rows["alone"]}
    table = [["weight of the labels", "accuracy, %", "points over alone", "splits won"]]
    table.append(["1: alone", spread(content["summary"]["alone"], len(alone)), "", ""])
    for name in (name for name in rows if name.startswith("weight ")):
        gains = [100 * (row["test_accuracy"] - alone[row["seed"]]) for row in rows[name]]
        cells = [name.removeprefix("weight "), spread(content["summary"][name], len(gains))]
        cells += [f"{statistics.fmean(gains):+.2f} ± {statistics.stdev(gains):.2f}"]
        table.append([*cells, f"{sum(gain > 0 for gain in gains)} of {len(gains)}"])
    return table


def ensemble(recipe: str) -> Table:
    """An ensemble, its members and its students, with the part of its gain that each keeps.

    Args:
        recipe: The name of a recipe with the stages `member` and `ensemble`.
    """
    content = results(recipe)
    mean = {name: found["mean"] for name, found in content["summary"].items()}
    gain = mean["ensemble"] - mean["member"]
    table = [["", "epochs", "accuracy, %", "of the ensemble's gain, %", "parameters"]]
    for name, rows in variants(content).items():
        epochs = str(len(rows[0]["history"].get("loss", ())) or "")
        kept = "" if name == "member" else f"{100 * (mean[name] - mean['member']) / gain:.0f}"
        cells = [name, epochs, spread(content["summary"][name], len(rows)), kept]
        table.append([*cells, f"{rows[0]['parameters']:,}"])
    return table


TABLES: dict[str, Callable[[], Table]] = {
    **{name: functools.partial(hinton_transfer, name) for name in _CLASSES},
    "hard_weight_digits": hard_weight_digits,
    "ensemble_digits": functools.partial(ensemble, "ensemble_digits"),
}
