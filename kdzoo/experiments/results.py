"""What an experiment leaves: a row for each model, accuracies, their spread, versions, as JSON."""

import functools
import importlib.metadata
import pathlib
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from kdzoo.data import Dataset
from kdzoo.evaluation import accuracy
from kdzoo.experiments.run_directory import Runs
from kdzoo.experiments.run_files import write_json

_AVERAGED = ("bytes", "gzipped_bytes")  # Of stages that measure a file.


def measure(model: keras.Model, data: Dataset) -> dict[str, Any]:
    """Returns the parameters, and the accuracy on the test images and, if any, on held-out ones."""
    x, y = test_arrays(data)
    fraction = accuracy(model, x, y)
    measured = {
        "parameters": model.count_params(),
        "test_accuracy": fraction,
        "test_errors": round((1 - fraction) * len(y)),
    }
    if data.validation is not None:
        measured["validation_accuracy"] = accuracy(model, *data.validation.arrays())
    return measured


def test_arrays(data: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Returns the test images and their labels.

    Raises:
        ValueError: If there are none.
    """
    if data.test is None:
        raise ValueError(f"Expected data with a test split. Received: data={data!r} without one.")
    return data.test.arrays()


def summarize(rows: Sequence[Mapping[str, Any]], name: str) -> dict[str, Any]:
    """Returns mean and sample deviation of a stage's test accuracy, and the median's seed."""
    ours = [row for row in rows if row["kind"] == name]
    ranked = sorted((row["test_accuracy"], row["seed"]) for row in ours)
    values = [value for value, _ in ranked]
    return {
        "mean": statistics.fmean(values),
        "std": statistics.stdev(values) if len(values) > 1 else 0.0,
        "median_seed": ranked[(len(ranked) - 1) // 2][1],
        **{
            field: round(statistics.fmean(row[field] for row in ours))
            for field in _AVERAGED
            if all(field in row for row in ours)
        },
    }


def write_results(runs: Runs, data: Mapping[str, Any]) -> dict[str, Any]:
    """Writes what is finished of an experiment to `results.json`, and returns it.

    Raises:
        ValueError: If a model was made with other settings than the experiment has.
    """
    rows = runs.rows()
    names = dict.fromkeys(row["kind"] for row in rows)
    results = {
        "settings": runs.experiment.described(),
        "summary": {name: summarize(rows, name) for name in names},
        **data,
        "versions": versions(),
        "rows": rows,
    }
    write_json(runs.of_run(runs.experiment.name) / "results.json", results)
    return results


def versions() -> dict[str, str]:
    """Returns name -> version of the packages that a result depends on, and Keras's backend.

    Where kdzoo runs from a checkout, its commit is among them, with a "+" if its code is changed.
    """
    found = {}
    for package in ("kdzoo", "keras", "tensorflow", "jax", "tensorflow-datasets", "numpy"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    commit = _commit()
    return {**found, "backend": keras.config.backend(), **({"commit": commit} if commit else {})}


@functools.cache
def _commit() -> str | None:
    """The commit of the checkout that kdzoo is imported from; None where there is none, or no git.

    A package in the environment of another project is in that project's checkout, which is not it.
    """
    root = pathlib.Path(__file__).resolve().parents[2]

    def git(*arguments: str) -> str:
        return subprocess.check_output(
            ["git", "-C", str(root), *arguments], text=True, stderr=subprocess.DEVNULL
        ).strip()

    try:
        if pathlib.Path(git("rev-parse", "--show-toplevel")).resolve() != root:
            return None
        changed = git("status", "--porcelain", "--untracked-files=no", "kdzoo/*.py")
        return git("rev-parse", "--short=10", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None
