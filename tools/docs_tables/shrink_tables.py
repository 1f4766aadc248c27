"""The table of the page that says which way to shrink a network."""

import statistics
from collections.abc import Callable
from typing import NamedTuple

from tools.docs_tables.content import Table, results, spread, variants


class Way(NamedTuple):
    """A network before and after it was made smaller, by the results of recipes.

    Attributes:
        wanted: What one wants.
        way: How one gets it.
        before: Recipe and variant of the network before.
        after: Recipe and variant of the smaller one.
        size: What the sizes are read from: `"bytes"` of the files, `"parameters"`, or a field of
            the rows of the smaller one that says how many times smaller it is.
    """

    wanted: str
    way: str
    before: tuple[str, str]
    after: tuple[str, str]
    size: str = "bytes"


def _in(recipe: str, before: str, after: str) -> tuple[tuple[str, str], tuple[str, str]]:
    """Two variants of one recipe."""
    return (recipe, before), (recipe, after)


_SEPARABLE = "zoo_cifar10_050_compressed"
WAYS = (
    Way(
        "a file for the phone",
        "8 bits, without training",
        *_in("qat_separable_cifar10", "float32", "int8 after training"),
    ),
    Way(
        "a file for the phone",
        "8 bits, trained for it",
        *_in("qat_separable_cifar10", "float32", "int8 aware"),
    ),
    Way(
        "… of a network that was trained to the end",
        "8 bits, trained for it, taught",
        *_in(_SEPARABLE, "float32", "int8"),
    ),
    Way("a smaller download", "80 % zeros", *_in(_SEPARABLE, "float32", "80 % zeros")),
    Way(
        "a smaller download", "32 values", *_in("cluster_separable_cifar10", "float32", "32 values")
    ),
    Way(
        "less of all: bytes, time, memory",
        "a narrower student",
        (_SEPARABLE, "float32"),
        ("zoo_cifar10_025_compressed", "float32"),
    ),
    Way(
        "… and a file for the phone",
        "a narrower student, 8 bits",
        (_SEPARABLE, "float32"),
        ("zoo_cifar10_025_compressed", "int8"),
    ),
    Way(
        "smaller dense layers",
        "low rank, taught",
        *_in("low_rank_lenet", "unfactorized", "0.25 of it"),
        "parameters",
    ),
    Way(
        "the fewest bytes on disk",
        "zeros, values, Huffman codes, taught",
        *_in("deep_compression_lenet_300_100", "dense", "smaller, taught"),
        "times_smaller",
    ),
    Way(
        "weights of one bit",
        "BinaryConnect, taught",
        *_in("binary_connect_mnist", "real weights", "deterministic, taught"),
        "file_factor",
    ),
)


def which_way_to_shrink() -> Table:
    """What each way costs in accuracy, and how much smaller it makes a network."""
    table = [["you want", "take", "by the recipe", "before, %", "after, %", "points"]]
    table[0] += ["times smaller", "after gzip"]
    for way in WAYS:
        pair, means = [], []
        for recipe, variant in (way.before, way.after):
            content = results(recipe)
            summary = content["summary"][variant]
            means.append(summary["mean"])
            pair.append(spread(summary, len(variants(content)[variant])))
        gain = f"{100 * (means[1] - means[0]):+.2f}"
        table.append([way.wanted, way.way, f"`{way.after[0]}`", *pair, gain, *_times(way)])
    return table


def _times(way: Way) -> list[str]:
    """How many times smaller a network is, and after gzip where that is measured."""
    (recipe, before), (other, after) = way.before, way.after
    if way.size == "bytes":
        old, new = results(recipe)["summary"][before], results(other)["summary"][after]
        return [f"{old[of] / new[of]:.2f}" for of in ("bytes", "gzipped_bytes")]
    rows = variants(results(other))[after]
    if way.size == "parameters":
        (first, *_) = variants(results(recipe))[before]
        return [f"{first['parameters'] / rows[0]['parameters']:.2f}", ""]
    return [f"{statistics.fmean(row[way.size] for row in rows):.1f}", ""]


TABLES: dict[str, Callable[[], Table]] = {"which_way_to_shrink": which_way_to_shrink}
