"""Everything that kdzoo does to one network: accuracy against bytes on disk, and against latency.

python -m tools.compression_pareto            writes results/compression_pareto.png
python -m tools.compression_pareto PATH       writes it there

The network is `separable_050` of the zoo on CIFAR-10. Accuracies and bytes are those of the
committed results, milliseconds those of `benchmarks/pareto_latency.py`; what is not measured yet is
left out.
"""

import argparse
import dataclasses
import io
import json
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

from kdzoo.utils import heavy_libraries, write_bytes
from tools.docs_tables.content import ROOT, Table

RESULTS = ROOT / "results"
LATENCIES = "benchmarks/pareto_latency"


class Variant(NamedTuple):
    """A row of a recipe's results that is drawn.

    Attributes:
        name: What figure and table call it.
        technique: What it was made by: a key of `STYLES`.
        recipe: Name of the recipe.
        stage: The stage whose rows it is.
        zoo: The model of the zoo that it is, or that has its structure; None for a file of the run.
    """

    name: str
    technique: str
    recipe: str
    stage: str
    zoo: str | None = None


_OURS, _ZOO = "compression_pareto", "zoo_cifar10_{}_compressed"
# Technique -> colour and marker; distinguishable by colour-blind readers (Okabe & Ito).
STYLES = {
    "the network": ("#000000", "*"),
    "fewer bits": ("#0072B2", "o"),
    "fewer filters": ("#D55E00", "s"),
    "low rank": ("#009E73", "D"),
    "zeros": ("#CC79A7", "v"),
    "few values": ("#E69F00", "^"),
    "narrower student": ("#56B4E9", "P"),
}


def _shaped(technique: str, names: Sequence[str]) -> list[Variant]:
    """Networks of other layers, each in float32 and in int8."""
    return [
        Variant(name, technique, _OURS, name)
        for name in (*names, *(f"{name}, int8" for name in names))
    ]


VARIANTS = (
    Variant("float32", "the network", _ZOO.format("050"), "float32", "separable_050/cifar10"),
    Variant("float16", "fewer bits", _OURS, "float16"),
    Variant("int8 weights", "fewer bits", _OURS, "int8 weights"),
    Variant("int8 after training", "fewer bits", _OURS, "int8 after training"),
    Variant("int8", "fewer bits", _ZOO.format("050"), "int8", "separable_050/cifar10/int8"),
    Variant("4 bits", "fewer bits", "qat_4_bit_cifar10", "4 bits"),
    *_shaped("fewer filters", ("filters, 2/3", "filters, 1/2", "filters, 1/3")),
    *_shaped("low rank", ("low rank, 3/4", "low rank, 1/2")),
    Variant(
        "80 % zeros", "zeros", _ZOO.format("050"), "80 % zeros", "separable_050/cifar10/sparse_80"
    ),
    Variant("32 values", "few values", _OURS, "32 values"),
    Variant("16 values", "few values", _OURS, "16 values"),
    # A `.kdz` file, which LiteRT does not run: it has no latency of its own.
    Variant("zeros, values, Huffman", "zeros", _OURS, "80 % zeros, 32 values, Huffman codes"),
    Variant(
        "separable_025", "narrower student", _ZOO.format("025"), "float32", "separable_025/cifar10"
    ),
    Variant(
        "separable_025, int8",
        "narrower student",
        _ZOO.format("025"),
        "int8",
        "separable_025/cifar10/int8",
    ),
)


@dataclasses.dataclass(frozen=True)
class Point:
    """What was measured of a variant, the mean over its seeds.

    Attributes:
        name: Its name.
        technique: A key of `STYLES`.
        accuracy: In percent, of the file on the test images.
        bytes: Those of the file.
        gzipped_bytes: Those of the file after gzip; None of one that is coded already.
        milliseconds: Median time of an image in LiteRT; None where it is not measured.
    """

    name: str
    technique: str
    accuracy: float
    bytes: int
    gzipped_bytes: int | None
    milliseconds: float | None


def points(results: pathlib.Path = RESULTS) -> list[Point]:
    """Returns what there is of `VARIANTS`, in their order.

    Args:
        results: Directory of the committed results.
    """
    path = results / f"{LATENCIES}.json"
    times = _read(path)["milliseconds"] if path.exists() else {}
    found = []
    for variant in VARIANTS:
        path = results / f"{variant.recipe}.json"
        summary = _read(path)["summary"].get(variant.stage) if path.exists() else None
        if summary is not None:
            sizes = summary["bytes"], summary.get("gzipped_bytes")
            measured = 100 * summary["mean"], *sizes, times.get(variant.name)
            found.append(Point(variant.name, variant.technique, *measured))
    return found


def _read(path: pathlib.Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def front(found: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Returns the pairs that no other is better than, by cost.

    Args:
        found: (cost, accuracy) of each.

    Example:

    >>> front([(3, 90), (1, 80), (2, 79), (4, 90)])
    [(1, 80), (3, 90)]
    """
    kept: list[tuple[float, float]] = []
    for cost, accuracy in sorted(found, key=lambda pair: (pair[0], -pair[1])):
        if not kept or accuracy > kept[-1][1]:
            kept.append((cost, accuracy))
    return kept


def table(results: pathlib.Path = RESULTS) -> Table:
    """Returns the points as a table for the docs.

    Args:
        results: Directory of the committed results.
    """
    rows = [["", "accuracy, %", "bytes", "gzipped", "ms"]]
    for point in points(results):
        gzipped = "" if point.gzipped_bytes is None else f"{point.gzipped_bytes:,}"
        time = "" if point.milliseconds is None else f"{point.milliseconds:.3f}"
        rows.append([point.name, f"{point.accuracy:.2f}", f"{point.bytes:,}", gzipped, time])
    return rows


def draw(found: Sequence[Point], path: pathlib.Path) -> None:
    """Draws accuracy against bytes and, if it is measured, against latency, with the fronts.

    Where gzip, as in the package of an app, takes away more than a third of a file, a hollow marker
    stands at what is left.

    Args:
        found: What `points` returned.
        path: The `.png` file.

    Raises:
        ImportError: If matplotlib is not installed.
        ValueError: If there is no point.
    """
    if not found:
        raise ValueError("Expected results of at least one variant. Received: none")
    timed = [point for point in found if point.milliseconds is not None]
    size = (12 if timed else 7, 6)
    figure = heavy_libraries.matplotlib().figure.Figure(figsize=size, layout="constrained")
    panels = figure.subplots(1, 2 if timed else 1, sharey=True, squeeze=False)[0]
    _draw_sizes(panels[0], found)
    if timed:
        _draw_points(panels[1], [(point.milliseconds, point) for point in timed])
        panels[1].set_xlabel("milliseconds an image in LiteRT, one thread")
    handles = {line.get_label(): line for axes in panels for line in axes.lines}
    known = [name for name in (*STYLES, "front") if name in handles]
    figure.legend([handles[name] for name in known], known, loc="outside lower center", ncols=5)
    figure.suptitle("separable_050 on CIFAR-10, made smaller")
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=120, format="png")
    write_bytes(path, buffer.getvalue())


def _draw_sizes(axes, found):
    """Draws accuracy against bytes, of the file and after gzip."""
    _draw_points(axes, [(point.bytes / 1000, point) for point in found])
    for point in found:
        packed = point.gzipped_bytes
        if packed is not None and packed < point.bytes * 2 / 3:
            colour, marker = STYLES[point.technique]
            ends = point.bytes / 1000, packed / 1000
            axes.plot(ends, [point.accuracy] * 2, ":", color=colour, linewidth=0.8)
            axes.plot(ends[1], point.accuracy, marker, color=colour, fillstyle="none")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("{x:g}")
    axes.tick_params(axis="x", which="both", labelsize="small")
    axes.set_xlabel("kilobytes of the file; hollow: after gzip")
    axes.set_ylabel("accuracy on the test images of CIFAR-10 (%)")


def _draw_points(axes, placed):
    """Draws (cost, point) pairs with their names, and the front."""
    for cost, point in placed:
        colour, marker = STYLES[point.technique]
        axes.plot(cost, point.accuracy, marker, color=colour, label=point.technique)
        axes.annotate(
            point.name,
            (cost, point.accuracy),
            xytext=(4, 4),
            textcoords="offset points",
            fontsize="x-small",
        )
    best = front([(cost, point.accuracy) for cost, point in placed])
    axes.step(*zip(*best, strict=True), where="post", color="#999999", label="front", zorder=0)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def main(arguments: Sequence[str] | None = None) -> None:
    """Draws the figure, and names what is missing."""
    parser = argparse.ArgumentParser(prog="python -m tools.compression_pareto")
    usual = RESULTS / "compression_pareto.png"
    parser.add_argument("path", nargs="?", type=pathlib.Path, default=usual)
    given = parser.parse_args(arguments)
    found = points()
    draw(found, given.path)
    names = {point.name for point in found}
    missing = [variant.name for variant in VARIANTS if variant.name not in names]
    untimed = [point.name for point in found if point.milliseconds is None]
    print(f"{given.path}: {len(found)} variants")
    for what, missed in (("not trained", missing), ("without a latency", untimed)):
        if missed:
            print(f"{what}: {', '.join(missed)}")


if __name__ == "__main__":
    main()
