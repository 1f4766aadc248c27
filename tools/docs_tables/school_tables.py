"""The tables of recipes in which several models teach, or the transfer set is another one."""

import functools
from collections.abc import Callable

from kdzoo.recipes import RECIPES
from tools.docs_tables.content import Table, error_cells, results, variants

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


TABLES: dict[str, Callable[[], Table]] = {
    "hinton_mnist_without_3": functools.partial(hinton_transfer, "hinton_mnist_without_3"),
}
