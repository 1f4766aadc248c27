"""The tables of recipes in which several models teach, or the transfer set is another one."""

import functools
import statistics
from collections.abc import Callable
from typing import NamedTuple

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
        recipe: The name of a recipe with the stage `member`, and one whose name begins with
            `ensemble`: of several, the first is what the gain is counted by.
    """
    content = results(recipe)
    mean = {name: found["mean"] for name, found in content["summary"].items()}
    whole = next(name for name in mean if name.startswith("ensemble"))
    gain = mean[whole] - mean["member"]
    table = [["", "epochs", "accuracy, %", "of the ensemble's gain, %", "parameters"]]
    for name, rows in variants(content).items():
        epochs = str(len(rows[0]["history"].get("loss", ())) or "")
        kept = "" if name == "member" else f"{100 * (mean[name] - mean['member']) / gain:.0f}"
        cells = [name, epochs, spread(content["summary"][name], len(rows)), kept]
        table.append([*cells, f"{rows[0]['parameters']:,}"])
    return table


def born_again() -> Table:
    """Generations of a network, their ensemble, and the variants of a first generation."""
    rows = variants(results("born_again_fashion_mnist"))
    table = [["", "test errors by seed", "mean", "accuracy, %"]]

    def add(name: str, accuracies: list[float]) -> None:
        size = results("born_again_fashion_mnist")["examples"]["test"]
        errors = [round((1 - accuracy) * size) for accuracy in accuracies]
        summary = {"mean": statistics.fmean(accuracies)}
        if len(accuracies) > 1:
            summary["std"] = statistics.stdev(accuracies)
        table.append([name, *error_cells(errors), spread(summary, len(accuracies))])

    generations = rows["three generations"]
    add("alone", [row["test_accuracy"] for row in rows["alone"]])
    for number in (1, 2, 3):  # Rows have the last one first.
        add(f"generation {number}", [row["test_accuracies"][-number] for row in generations])
    for name in ("confidence", "permuted"):
        add(f"generation 1, {name}", [row["test_accuracy"] for row in rows[name]])
    add("ensemble of the three alone", [row["test_accuracy"] for row in rows["ensemble of three"]])
    ensembles = [row["ensemble_test_accuracy"] for row in generations]
    add("ensemble of three generations", ensembles)
    return table


class Choice(NamedTuple):
    """A scheme beside what one would do without it, by the results of a recipe.

    Attributes:
        given: What one has.
        scheme: What one does with it.
        recipe: The name of the recipe.
        without: The variant that stands for not doing it, of as many epochs where there is one.
        by: The variant that did it.
    """

    given: str
    scheme: str
    recipe: str
    without: str
    by: str


CHOICES = (
    Choice("a larger teacher", "soft targets", "fashion_mnist", "alone", "distilled"),
    Choice("a larger teacher", "soft targets, T = 20", "hinton_mnist", "alone", "distilled"),
    Choice(
        "… of stages of the same sizes",
        "soft targets and a hint",
        "losses_compared",
        "soft targets",
        "soft targets + hint",
    ),
    Choice(
        "… of other widths",
        "soft targets and attention",
        "losses_compared",
        "soft targets",
        "soft targets + attention",
    ),
    Choice(
        "… and a thin, deep student",
        "hints first, then soft targets",
        "fitnet_mnist",
        "distilled",
        "hints",
    ),
    Choice(
        "… and no sample of a class",
        "soft targets, and that bias mended",
        "hinton_mnist_without_3",
        "distilled",
        "those biases by held-out images",
    ),
    Choice(
        "several equal networks",
        "soft targets of their ensemble",
        "ensemble_digits",
        "alone, as long",
        "by the ensemble",
    ),
    Choice(
        "no teacher",
        "the network itself, three generations",
        "born_again_fashion_mnist",
        "alone",
        "three generations",
    ),
)


def which_scheme() -> Table:
    """What each scheme was worth, beside what one would do without it."""
    table = [["you have", "take", "by the recipe", "without, %", "with it, %", "points"]]
    for choice in CHOICES:
        content = results(choice.recipe)
        rows = variants(content)
        pair = (choice.without, choice.by)
        without, by = (spread(content["summary"][name], len(rows[name])) for name in pair)
        mean = [content["summary"][name]["mean"] for name in pair]
        gain = f"{100 * (mean[1] - mean[0]):+.2f}"
        table.append([choice.given, choice.scheme, f"`{choice.recipe}`", without, by, gain])
    return table


TABLES: dict[str, Callable[[], Table]] = {
    **{name: functools.partial(hinton_transfer, name) for name in _CLASSES},
    "hard_weight_digits": hard_weight_digits,
    "born_again_fashion_mnist": born_again,
    "which_scheme": which_scheme,
    "ensemble_digits": functools.partial(ensemble, "ensemble_digits"),
}
