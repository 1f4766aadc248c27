"""Plots of trainings and their results; they need matplotlib."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kdzoo.utils import check_path, heavy_libraries, write_bytes
from kdzoo.utils.types import PathLike

# Distinguishable in print and by colour-blind readers (Okabe & Ito).
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
# Variant -> what a legend calls it, its colour and its marker.
_ROLES = {
    "alone": ("student alone", _COLOURS[1], "o"),
    "distilled": ("student distilled", _COLOURS[0], "o"),
    "teacher": ("teacher", _COLOURS[2], "|"),
}


def training_curves(
    histories: Mapping[str, Sequence[Mapping[str, Sequence[float]]]],
    path: PathLike,
    title: str | None = None,
) -> None:
    """Draws error and loss on the validation images, epoch by epoch.

    Args:
        histories: Dictionary from the name of a curve to a list of histories, one for each seed; a
            history is a dictionary of lists, such as `fit(...).history`, with `val_accuracy` and
            `val_loss`. The line is the mean over the seeds, the band goes from the lowest to
            the highest value.
        path: The file to write, replaced in one step; the suffix decides on the format (`.png`…).
        title: The title of the plot.

    Raises:
        ImportError: If matplotlib is not installed.
        ValueError: If a history lacks `val_accuracy` or `val_loss`, or there is none.

    Example:

    ```python
    training_curves({"alone": [history.history]}, "curves.png")
    ```
    """
    _check(histories)
    figure = _figure(10, 4.2)
    error_axes, loss_axes = figure.subplots(1, 2)
    for (name, runs), colour in zip(histories.items(), _COLOURS * len(histories), strict=False):
        errors = [100 * (1 - np.asarray(run["val_accuracy"])) for run in runs]
        _draw(error_axes, errors, name, colour)
        _draw(loss_axes, [np.asarray(run["val_loss"]) for run in runs], name, colour)
    error_axes.set_ylim(bottom=0)
    error_axes.legend(frameon=False)
    loss_axes.set_yscale("log")
    loss_axes.yaxis.set_major_formatter("{x:.2g}")  # Not as powers of ten.
    loss_axes.yaxis.set_minor_formatter("{x:.2g}")
    _label(error_axes, "error on validation images (%)")
    _label(loss_axes, "cross-entropy on validation images")
    if title:
        figure.suptitle(title)
    _save(figure, path)


def distilled_and_alone(
    results: Mapping[str, Any], path: PathLike, title: str | None = None
) -> None:
    """Draws a teacher and its student, distilled and alone: error by epoch, and test error by run.

    On the left is the error on the validation images, the mean over the seeds, with a band of one
    standard deviation to each side; of the teacher the last epoch alone. On the right is the error
    on the test images, a line for each seed.

    Args:
        results: The content of a recipe's `results.json`, with the variants `"teacher"`, `"alone"`
            and `"distilled"`.
        path: The file to write, replaced in one step; the suffix decides on the format (`.png`…).
        title: The title of the plot.

    Raises:
        ImportError: If matplotlib is not installed.
        ValueError: If a variant is missing, or a history lacks `val_accuracy`.

    Example:

    ```python
    results = kdzoo.recipes.RECIPES["digits"].run("runs/digits")
    distilled_and_alone(results, "curves.png")
    ```
    """
    rows = {name: [row for row in results["rows"] if row["kind"] == name] for name in _ROLES}
    if not all(
        found and all("val_accuracy" in row["history"] for row in found) for found in rows.values()
    ):
        raise ValueError(
            f"Expected rows of {', '.join(_ROLES)} with 'val_accuracy' in their history. Received: "
            f"rows of {sorted({row['kind'] for row in results['rows']})}"
        )
    figure = _figure(10, 4.2)
    epoch_axes, test_axes = figure.subplots(1, 2)
    unit = "split" if results["settings"].get("split_by_seed") else "seed"
    _draw_epochs(epoch_axes, rows)
    epoch_axes.set_title(f"as they learn: mean ± standard deviation over {unit}s", size="medium")
    _draw_tests(test_axes, rows, unit)
    test_axes.set_title(f"in the end, {unit} by {unit}", size="medium")
    if title:
        figure.suptitle(title)
    _save(figure, path)


def errors_by_variant(results: Mapping[str, Any], path: PathLike, title: str | None = None) -> None:
    """Draws the test errors of every variant in a recipe's results, seed by seed.

    A dot is a run, the line through the dots of a variant their mean. Where the recipe quotes the
    paper, its number is a cross.

    Args:
        results: The content of a recipe's `results.json`.
        path: The file to write, replaced in one step; the suffix decides on the format (`.png`…).
        title: The title of the plot.

    Raises:
        ImportError: If matplotlib is not installed.
        ValueError: If the results have no row.

    Example:

    ```python
    errors_by_variant(json.loads(pathlib.Path("results.json").read_text()), "errors.png")
    ```
    """
    variants = list(results.get("summary", {}))
    if not variants:
        raise ValueError("Expected the results of a recipe. Received: results without a summary.")
    images = results["examples"]["test"]
    figure = _figure(7, 1 + 0.35 * len(variants))
    axes = figure.subplots()
    for place, variant in enumerate(variants):
        runs = [row["test_accuracy"] for row in results["rows"] if row["kind"] == variant]
        errors = 100 * (1 - np.asarray(runs))
        axes.plot(errors, [place] * len(errors), "o", color=_COLOURS[0], markersize=5)
        axes.vlines(errors.mean(), place - 0.3, place + 0.3, color=_COLOURS[1])
        quoted = (results["settings"].get("paper") or {}).get(variant)
        if quoted is not None:
            axes.plot(100 * quoted / images, place, "x", color=_COLOURS[2], label="the paper")
    axes.set_yticks(range(len(variants)), variants)
    axes.invert_yaxis()
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        axes.legend(handles[:1], labels[:1], frameon=False)
    axes.set_xlabel(f"error on {images:,} test images (%)")
    axes.grid(alpha=0.3, axis="x")
    axes.spines[["top", "right"]].set_visible(False)
    if title:
        figure.suptitle(title)
    _save(figure, path)


def has_costs(row: Mapping[str, Any]) -> bool:
    """Returns whether a row of results says what a network, or a part of it, costs.

    Args:
        row: A row of a recipe's `results.json`.
    """
    return any(of_costs in row for of_costs, *_ in _COSTS)


def accuracy_by_cost(
    results: Mapping[str, Any],
    path: PathLike,
    title: str | None = None,
    variants: Sequence[str] | None = None,
) -> None:
    """Draws the accuracy on test images over the multiply-accumulates of an image.

    A network that stops when it is sure is a line through its budgets, exits at which all images
    stop and widths are dashed lines, other networks are dots. All are means over the seeds.

    Args:
        results: The content of a recipe's `results.json`.
        path: The file to write, replaced in one step; the suffix decides on the format (`.png`…).
        title: The title of the plot.
        variants: The variants that are drawn; all of which rows say the cost when None.

    Raises:
        ImportError: If matplotlib is not installed.
        ValueError: If no row says what its network costs.

    Example:

    ```python
    accuracy_by_cost(json.loads(pathlib.Path("results.json").read_text()), "costs.png")
    ```
    """
    found: dict[str, list[Any]] = {}
    for row in filter(has_costs, results.get("rows", ())):
        if variants is None or row["kind"] in variants:
            found.setdefault(row["kind"], []).append(row)
    if not found:
        raise ValueError(
            "Expected the results of a recipe whose rows say what a network costs. Received: "
            f"rows of {sorted({row['kind'] for row in results.get('rows', ())})}"
        )
    figure = _figure(7, 4.8)
    axes = figure.subplots()
    for (variant, rows), colour in zip(found.items(), _COLOURS * len(found), strict=False):
        points, style = np.mean([_points(row) for row in rows], axis=0), _style(rows[0])
        axes.plot(points[0] / 1e6, 100 * points[1], style, color=colour, label=variant)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")  # Not as powers of ten.
    axes.xaxis.set_minor_formatter("{x:g}")
    axes.set_xlabel("million multiply-accumulates of an image, in the mean")
    axes.set_ylabel("accuracy on test images (%)")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize="small")
    if title:
        figure.suptitle(title)
    _save(figure, path)


# What of a row has costs, what has the accuracies, and how they are drawn.
_COSTS = (
    ("curve", "curve", "o-"),
    ("exit_macs", "exit_test_accuracies", "s--"),
    ("width_macs", "width_test_accuracies", "^--"),
    ("macs", "test_accuracy", "D"),
)


def _style(row: Mapping[str, Any]) -> str:
    return next(style for of_costs, _, style in _COSTS if of_costs in row)


def _points(row: Mapping[str, Any]) -> np.ndarray:
    """Costs and accuracies of a row, an array `(2, points)`."""
    of_costs, of_accuracies = next(names[:2] for names in _COSTS if names[0] in row)
    if of_costs == "curve":
        points = row["curve"] or [row]
        return np.array([[point[name] for point in points] for name in _OF_A_POINT], float)
    return np.stack([np.atleast_1d(row[of_costs]), np.atleast_1d(row[of_accuracies])])


_OF_A_POINT = ("mean_macs", "test_accuracy")


def _save(figure, path):
    """Writes a plot, drawn in memory, whole or not at all."""
    path, buffer = check_path("path", path), io.BytesIO()
    figure.savefig(buffer, dpi=150, format=path.suffix.removeprefix(".") or None)
    write_bytes(path, buffer.getvalue())


def _figure(width, height):
    """Returns an empty figure, in inches, or raises where matplotlib is not installed."""
    return heavy_libraries.matplotlib().figure.Figure(figsize=(width, height), layout="constrained")


def _check(histories):
    runs = [run for runs in histories.values() for run in runs]
    if not runs or not all({"val_accuracy", "val_loss"} <= run.keys() for run in runs):
        raise ValueError(
            "Expected histories with 'val_accuracy' and 'val_loss'. Received: "
            f"{[sorted(run) for run in runs]}; compile with metrics=['accuracy'] and pass "
            "validation_data to `fit`."
        )


def _draw_epochs(axes, rows):
    """Draws the validation error of the students by epoch, and where the teachers ended."""
    for name, (label, colour, _) in _ROLES.items():
        errors = 100 * (1 - np.stack([row["history"]["val_accuracy"] for row in rows[name]]))
        mean, std = errors.mean(axis=0), errors.std(axis=0)
        if name == "teacher":
            axes.axhline(mean[-1], color=colour, linestyle="--", label=f"{label}, fully trained")
            continue
        epochs = np.arange(1, len(mean) + 1)
        axes.plot(epochs, mean, color=colour, label=label)
        axes.fill_between(epochs, mean - std, mean + std, color=colour, alpha=0.2, linewidth=0)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")  # Not as powers of ten.
    axes.yaxis.set_minor_formatter("{x:g}")
    axes.legend(frameon=False)
    _label(axes, "errors on validation images (%)")


def _draw_tests(axes, rows, unit):
    """Draws the test errors of a seed on a line of its own."""
    seeds = [row["seed"] for row in rows["alone"]]
    errors = {
        name: {row["seed"]: 100 * (1 - row["test_accuracy"]) for row in rows[name]}
        for name in _ROLES
    }
    for place, seed in enumerate(seeds):
        pair = [errors[name][seed] for name in ("alone", "distilled") if seed in errors[name]]
        axes.plot(pair, [place] * len(pair), color="0.8", linewidth=3, zorder=0)
    for name, (label, colour, marker) in _ROLES.items():
        places = [
            (errors[name][seed], place) for place, seed in enumerate(seeds) if seed in errors[name]
        ]
        axes.plot(
            *zip(*places, strict=True), marker, color=colour, markersize=9, mew=2, label=label
        )
    axes.set_yticks(range(len(seeds)), [f"{unit} {seed}" for seed in seeds])
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    axes.set_xlabel("errors on test images (%)")
    axes.grid(alpha=0.3, axis="x")
    axes.spines[["top", "right"]].set_visible(False)


def _draw(axes, runs, name, colour):
    """Draws the mean of curves of one length, and the range between them."""
    length = min(map(len, runs))
    runs = np.stack([run[:length] for run in runs])
    epochs = np.arange(1, length + 1)
    axes.plot(epochs, runs.mean(axis=0), color=colour, label=name)
    if len(runs) > 1:
        axes.fill_between(
            epochs, runs.min(axis=0), runs.max(axis=0), color=colour, alpha=0.2, linewidth=0
        )


def _label(axes, what):
    axes.set_xlabel("epoch")
    axes.set_ylabel(what)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
