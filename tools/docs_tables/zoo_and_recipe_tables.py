"""The tables of the README and of docs/: every cell comes from `results/` or the zoo's manifest.

A table is a list of rows, the first of which is its header; a row is a list of cells, all strings.
`python -m tools.docs_tables` writes them into the pages.
"""

import functools
import statistics
from collections.abc import Callable, Mapping

from kdzoo.recipes import RECIPES
from kdzoo.zoo import cards
from kdzoo.zoo.manifest import read_manifest
from tools import compression_pareto
from tools.docs_tables import (
    benchmark_tables,
    dynamic_tables,
    school_tables,
    shrink_tables,
    small_network_tables,
)
from tools.docs_tables.content import ROOT, Table, results, spread, variants

# The six rows of the README: each data set of the zoo, and the three sizes of its main family.
HIGHLIGHTS = (
    "separable_025/cifar10/int8",
    "separable_050/cifar10/int8",
    "separable_100/cifar10/int8",
    "resnet_20/cifar100",
    "separable_050/fashion_mnist",
    "fitnet_mnist/mnist",
)


# The zoo


def highlights() -> Table:
    """Six students of the zoo, for the README."""
    table = [["model", "parameters", "bytes as int8", "test accuracy, %", "trained alone, %"]]
    models = read_manifest(ROOT / "zoo_weights")
    for row in (models[name] for name in HIGHLIGHTS):
        sizes, accuracy = row.measured["bytes"], cards.shipped_accuracy(row)
        size = sizes[".tflite"] if "tflite" in row.files else sizes[".tflite int8"]
        alone = 100 * row.measured["alone"]["mean"]
        cells = [f"`{row.name}`", f"{row.measured['parameters']:,}", f"{size:,}"]
        table.append([*cells, f"{100 * accuracy:.2f}", f"{alone:.2f}"])
    return table


def zoo() -> Table:
    """All pretrained models."""
    lines = cards.table(read_manifest(ROOT / "zoo_weights").values()).splitlines()
    return [_cells(line) for line in lines if not line.startswith("|---")]


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def small_forms() -> Table:
    """The accuracies and gzipped bytes of the two forms of a compressed student."""
    models = read_manifest(ROOT / "zoo_weights")
    table = [["student", "int8, %", "gzipped bytes", "80 % zeros, %", "gzipped bytes"]]
    for name in (name for name in models if f"{name}/sparse_80" in models):
        cells = [f"`{name}`"]
        for measured in (models[f"{name}/{form}"].measured for form in ("int8", "sparse_80")):
            size = measured["bytes"][".tflite, gzipped"]
            cells += [f"{100 * measured['tflite_accuracy']:.2f}", f"{size:,}"]
        table.append(cells)
    return table


# Recipes


# Recipe -> variant -> what its table calls it.
COMPARISONS = {
    "digits": {
        "teacher": "teacher",
        "alone": "student alone",
        "distilled": "student distilled",
    },
    "fashion_mnist": {
        "teacher": "teacher, WRN-16-1",
        "alone": "separable student alone",
        "distilled": "separable student distilled",
    },
    "hinton_mnist": {
        "teacher": "teacher, 2 × 1200 units",
        "alone": "2 × 800 units alone",
        "distilled": "2 × 800 units distilled at T = 20",
    },
    "fitnet_mnist": {
        "teacher": "teacher, maxout",
        "alone": "FitNet alone",
        "alone, as long": "FitNet alone, for longer",
        "distilled": "FitNet distilled at T = 3",
        "hints": "FitNet with hints, then distilled at T = 3",
    },
}
# Recipe -> another one, a variant of it that stands below, and what the table calls that.
FURTHER = {
    "fitnet_mnist": (
        "fitnet_mnist_by_labels",
        "labels first",
        "FitNet, lower half by labels, then distilled at T = 3",
    ),
}


def comparison(recipe: str) -> Table:
    """A teacher and its students.

    Args:
        recipe: A key of `COMPARISONS`.
    """
    labels, paper = COMPARISONS[recipe], RECIPES[recipe].paper
    table = [["", "epochs", "test errors by seed", "mean", "in the paper", "accuracy, %"]]
    table[0].append("parameters")
    content = results(recipe)
    for name in variants(content):
        table.append(_compared(content, name, labels[name], str(paper.get(name, ""))))
    if recipe in FURTHER:
        other, name, label = FURTHER[recipe]
        table.append(_compared(results(other), name, label, ""))
    return table if paper else [row[:4] + row[5:] for row in table]


def _compared(content: Mapping, name: str, label: str, of_paper: str) -> list[str]:
    """The line of a variant, of which there is a row a seed."""
    rows = variants(content)[name]
    errors = [round((1 - row["test_accuracy"]) * content["examples"]["test"]) for row in rows]
    mean = f"{statistics.fmean(errors):.1f}" if len(rows) > 1 else ""
    cells = [label, str(len(rows[0]["history"]["loss"])), ", ".join(map(str, errors)), mean]
    cells += [of_paper, spread(content["summary"][name], len(rows))]
    return [*cells, f"{rows[0]['parameters']:,}"]


def temperatures() -> Table:
    """Test errors and accuracy by temperature, for two widths."""
    content = results("hinton_mnist_temperatures")
    rows = variants(content)
    table = [["T", "300 units: test errors", "accuracy, %", "30 units: test errors", "accuracy, %"]]
    for temperature in ("1", "2.5", "4", "8", "20"):
        cells = [temperature]
        for name in (f"{units} units, T={temperature}" for units in (300, 30)):
            cells.append(", ".join(str(row["test_errors"]) for row in rows[name]))
            cells.append(spread(content["summary"][name], len(rows[name])))
        table.append(cells)
    return table


def losses_compared() -> Table:
    """Each loss beside soft targets, best first."""
    content = results("losses_compared")
    accuracies = {
        name: {row["seed"]: row["test_accuracy"] for row in rows}
        for name, rows in variants(content).items()
    }
    base, table = accuracies["soft targets"], [["", "accuracy, %", "points to soft targets"]]
    first = ("teacher", "alone", "soft targets")
    others = sorted(
        set(accuracies) - set(first), key=lambda name: -content["summary"][name]["mean"]
    )
    for name in (*first, *others):
        gains = [f"{100 * (accuracy - base[s]):+.1f}" for s, accuracy in accuracies[name].items()]
        is_compared = name not in ("teacher", "soft targets")
        cells = ["student alone" if name == "alone" else name]
        cells.append(spread(content["summary"][name], len(accuracies[name])))
        table.append([*cells, ", ".join(gains) if is_compared else ""])
    return table


def compression() -> Table:
    """What 8 bits and zeros cost one student."""
    teacher = spread(results("separable_cifar10")["summary"]["teacher"], 1)
    table = [_COMPRESSED, ["teacher", teacher, "", "", "", ""]]
    for recipe in ("qat_separable", "prune_separable", "prune_2_of_4"):
        content = results(f"{recipe}_cifar10")
        for name, rows in variants(content).items():
            if name != "float32" or len(table) == 2:  # The one that every recipe starts from.
                table.append(_compressed(name, rows, content["summary"][name]))
    return table


def clusters() -> Table:
    """What few values in each kernel cost a student of the zoo."""
    content = results("cluster_separable_cifar10")
    files = {name: rows for name, rows in variants(content).items() if name != "student"}
    rows = [_compressed(name, rows, content["summary"][name]) for name, rows in files.items()]
    return [_COMPRESSED, *rows]


_COMPRESSED = ["", "accuracy, %", "bytes", "gzipped", "zeros, %", "same argmax, %"]


def _compressed(name: str, rows: list[dict], summary: Mapping) -> list[str]:
    """The line of a compressed file, of which there is a row a seed."""
    zeros = 100 * statistics.fmean(row["sparsity"] for row in rows)
    same = 100 * min(row["agreement"] for row in rows)
    cells = [name, spread(summary, len(rows)), f"{summary['bytes']:,}"]
    return [*cells, f"{summary['gzipped_bytes']:,}", f"{zeros:.0f}", f"{same:.2f}"]


_FUNCTIONS = (highlights, zoo, small_forms, temperatures, losses_compared, compression, clusters)
TABLES: dict[str, Callable[[], Table]] = {
    **{function.__name__: function for function in _FUNCTIONS},
    **{name: functools.partial(comparison, name) for name in COMPARISONS},
    **school_tables.TABLES,
    **small_network_tables.TABLES,
    **shrink_tables.TABLES,
    **dynamic_tables.TABLES,
    "compression_pareto": compression_pareto.table,
    **benchmark_tables.TABLES,
}
