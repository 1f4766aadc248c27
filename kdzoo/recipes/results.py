"""What a recipe reports: accuracies, their spread, the versions, in one JSON file."""

import importlib.metadata
import json
import statistics

from kdzoo.utils import atomic_path


def measure(model, data):
    """Returns the accuracy on the test images and, where some are held out, on those.

    Args:
        model: A trained `keras.Model`.
        data: The `kdzoo.data.Dataset`.
    """
    from kdzoo.evaluation import accuracy

    x, y = data.test.arrays()
    share = accuracy(model, x, y)
    measured = {"test_accuracy": share, "test_errors": round((1 - share) * len(y))}
    if data.validation is not None:
        measured["validation_accuracy"] = accuracy(model, *data.validation.arrays())
    return measured


def summarize(rows, kind):
    """Returns mean and sample standard deviation of a kind's test accuracy, and the median's seed.

    Args:
        rows: The rows of `results.json`.
        kind: The kind of model.
    """
    ours = sorted((row["test_accuracy"], row["seed"]) for row in rows if row["kind"] == kind)
    values = [accuracy for accuracy, _ in ours]
    return {
        "mean": statistics.fmean(values),
        "std": statistics.stdev(values) if len(values) > 1 else 0.0,
        "median_seed": ours[(len(ours) - 1) // 2][1],
    }


def versions():
    """Returns name -> version of the packages that a result depends on, and Keras's backend."""
    import keras

    found = {}
    for package in ("kdzoo", "keras", "tensorflow", "jax", "tensorflow-datasets", "numpy"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {**found, "backend": keras.config.backend()}


def write_json(path, content):
    """Writes JSON whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n")
