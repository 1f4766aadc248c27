"""The curves of networks of several costs, from the committed results.

python -m tools.dynamic_figures       writes them into results/
python -m tools.dynamic_figures DIR   writes them there

Results that are not there yet, or not of all that a figure shows, are left out and named.
"""

import argparse
import io
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kdzoo.evaluation.plots import accuracy_by_cost
from kdzoo.utils import heavy_libraries, write_bytes
from tools.docs_tables.content import ROOT, results, variants
from tools.docs_tables.dynamic_tables import exits_alone, last_exit_by_place, students

RESULTS = ROOT / "results"
NETWORKS = {"residual": ("#0072B2", "o"), "MSDNet": ("#D55E00", "s")}
"""What an exit was added to -> its colour and marker."""
Row = Mapping[str, Any]


def early_exit_mnist(path: pathlib.Path) -> None:
    """Draws three LeNets that stop when they are sure, and the one that has no exit."""
    rows = results("early_exit_mnist")["rows"]
    shown = ("alone", "as in the paper", "self-taught", "taught")
    title = "B-LeNet on MNIST, means of three seeds"
    accuracy_by_cost({"rows": rows}, path, title, shown)


def msdnet_cifar10(path: pathlib.Path) -> None:
    """Draws one network that stops when it is sure, beside networks of one cost each."""
    rows = {name: found[0] for name, found in variants(results("msdnet_cifar10")).items()}
    drawn = [
        {**rows["budgets"], "kind": "stops when it is sure"},
        {**rows["exits"], "kind": "each of its exits"},
        of_several("exit", "cut at an exit, trained alone", exits_alone(rows)),
        of_several("exit", "students of the zoo, taught", students(rows)),
    ]
    accuracy_by_cost({"rows": drawn}, path, "MSDNet on CIFAR-10, 22 epochs, one seed")


def slimmable_cifar10(path: pathlib.Path) -> None:
    """Draws the widths of slimmable networks, and networks of one width."""
    rows = variants(results("slimmable_cifar10"))
    names = [name for name in rows if name.endswith(", alone")]
    seeds = sorted({row["seed"] for row in rows["switchable"]})
    alone = [
        [next(row for row in rows[name] if row["seed"] == seed) for name in names] for seed in seeds
    ]
    drawn = [
        *({**row, "kind": "slimmable, four widths"} for row in rows["switchable"]),
        *({**row, "kind": "universally slimmable, one seed"} for row in rows["universal"]),
        *(of_several("width", "each width trained alone", of_a_seed) for of_a_seed in alone),
    ]
    accuracy_by_cost(
        {"rows": drawn}, path, "separable_050 at several widths on CIFAR-10, 10 epochs"
    )


def exits_by_place(path: pathlib.Path) -> None:
    """Draws what a last exit gains or loses by a first one, by where that stands."""
    rows = {name: found[0] for name, found in variants(results("msdnet_cifar10")).items()}
    figure = heavy_libraries.matplotlib().figure.Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    for network, (colour, marker) in NETWORKS.items():
        places = last_exit_by_place(network, rows)
        scaled = places.pop("early, scaled gradients")
        axes.plot(*zip(*places.values(), strict=True), f"{marker}-", color=colour, label=network)
        label = f"{network}, scaled gradients"
        axes.plot(*scaled, marker, color=colour, fillstyle="none", label=label)
    axes.axhline(0, color="#999999", linewidth=0.8)
    axes.set_xlabel("cost of the first exit, % of the last one's")
    axes.set_ylabel("last exit, points against training it alone")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize="small")
    figure.suptitle("What a first exit costs the last one (CIFAR-10, 10 epochs, one seed)")
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=150, format="png")
    write_bytes(path, buffer.getvalue())


def of_several(part: str, kind: str, rows: Sequence[Row]) -> Row:
    """Returns networks of one cost each as one row, which is drawn as one line.

    Args:
        part: "exit" or "width".
        kind: What the line is called.
        rows: One for each network, of one seed.
    """
    return {
        "kind": kind,
        f"{part}_macs": [row["macs"] for row in rows],
        f"{part}_test_accuracies": [row["test_accuracy"] for row in rows],
    }


FIGURES: tuple[Callable[[pathlib.Path], None], ...] = (
    early_exit_mnist,
    msdnet_cifar10,
    exits_by_place,
    slimmable_cifar10,
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Draws the figures, and names those whose results are missing."""
    parser = argparse.ArgumentParser(prog="python -m tools.dynamic_figures")
    parser.add_argument("directory", nargs="?", type=pathlib.Path, default=RESULTS)
    directory = parser.parse_args(arguments).directory
    for figure in FIGURES:
        path = directory / f"{figure.__name__}.png"
        try:
            figure(path)
        except (KeyError, FileNotFoundError) as missing:
            print(f"{path.name}: not measured yet: {missing}")
        else:
            print(path)


if __name__ == "__main__":
    main()
