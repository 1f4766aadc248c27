"""Networks of several exits as rows measure them: each exit, thresholds to budgets, their file."""

import math
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from kdzoo import dynamic, evaluation, export
from kdzoo.experiments.measure_model import test_arrays

if TYPE_CHECKING:
    from kdzoo.data import Dataset

_BATCH = 500
_TIMED = 1000  # Test images by which a runner is timed up to each exit, one by one.


def measure_exits(model: "keras.Model", data: "Dataset") -> dict[str, Any]:
    """Returns the parameters, and the accuracy and the multiply-accumulates of each exit.

    Those of `"test_accuracy"` and `"validation_accuracy"` are of the last exit. The costs of an
    exit count the heads before it.

    Args:
        model: A functional model of several exits.
        data: The data set.
    """
    classifier = dynamic.BudgetedClassifier(model)
    classifier.thresholds = [math.inf] * (len(classifier.costs) - 1)
    x, y = test_arrays(data)
    accuracies = classifier.evaluate(x, y, batch_size=_BATCH).exit_accuracies
    measured = {
        "parameters": model.count_params(),
        "test_accuracy": accuracies[-1],
        "test_errors": round((1 - accuracies[-1]) * len(y)),
        "exit_test_accuracies": accuracies,
        "exit_macs": dynamic.exit_macs(model),
    }
    if data.validation is not None:
        x, y = data.validation.arrays()
        held_out = classifier.evaluate(x, y, batch_size=_BATCH)
        measured["validation_accuracy"] = held_out.exit_accuracies[-1]
        measured["exit_validation_accuracies"] = held_out.exit_accuracies
    return measured


def measure_budgets(
    classifier: "dynamic.BudgetedClassifier",
    data: "Dataset",
    budgets: Sequence[float],
    lost_accuracy: float,
    rule: Any,
    kept: "keras.Model | None" = None,
) -> dict[str, Any]:
    """Returns what a classifier does with thresholds that were fitted to held-out images.

    It is left with the thresholds by which it keeps an accuracy; the others are points of
    `"curve"`, from the smallest budget to the largest.

    Args:
        classifier: The classifier.
        data: The data set, whose validation images the thresholds are fitted to.
        budgets: Mean costs of a sample, as fractions of the costs of the last exit.
        lost_accuracy: How far below the accuracy that is kept that on held-out images may be.
        rule: As `BudgetedClassifier.fit` takes it.
        kept: The plain model whose accuracy on held-out images is kept, as far as the last exit
            has it; None for that of the last exit.
    """
    held_out: Any = data.validation
    (x, y), (test_x, test_y) = held_out.arrays(), test_arrays(data)
    runs, costs = dynamic.exit_runs, classifier.costs
    held = runs.measure(classifier.parts, x, y, classifier.confidence, _BATCH)
    test = runs.measure(classifier.parts, test_x, test_y, classifier.confidence, _BATCH)
    dynamic.budget_report.check_samples(held.labels, len(costs), classifier.classes)

    def point(thresholds: Sequence[float]) -> dict[str, Any]:
        fitted, found = (
            dynamic.budget_report.report_of(part.confidences, part.are_right, costs, thresholds)
            for part in (held, test)
        )
        return {
            "test_accuracy": found.accuracy,
            "mean_macs": found.mean_cost,
            "fractions": found.fractions,
            "thresholds": [None if math.isinf(one) else one for one in found.thresholds],
            "validation_accuracy": fitted.accuracy,
            "validation_mean_macs": fitted.mean_cost,
        }

    curve = []
    for budget in (fraction * costs[-1] for fraction in sorted(budgets)):
        thresholds = dynamic.thresholds.fit_to_budget(
            held.confidences, held.are_right, costs, budget, rule
        )
        curve.append({"budget": budget, **point(thresholds)})
    goal = float(held.are_right[-1].mean())
    if kept is not None:
        goal = min(goal, evaluation.accuracy(kept, x, y))
    goal = max(0.0, goal - lost_accuracy)
    classifier.thresholds = dynamic.thresholds.fit_to_accuracy(
        held.confidences, held.are_right, costs, goal, rule
    )
    chosen = point(classifier.thresholds)
    errors = round((1 - chosen["test_accuracy"]) * len(test_y))
    return {**chosen, "test_errors": errors, "curve": curve}


def measure_file(
    classifier: "dynamic.BudgetedClassifier",
    model: "keras.Model",
    path: pathlib.Path,
    data: "Dataset",
) -> dict[str, Any] | None:
    """Writes a LiteRT file of several exits and times it at batch 1, in one thread.

    Args:
        classifier: The network with its thresholds.
        model: The model of several exits.
        path: Where the file goes.
        data: The data set, whose test images run through the file.

    Returns:
        A dictionary: the bytes of the file and of the last exit's network alone; the median time
        up to each exit, each as a network of its own (`"exits_alone_ms"`), signature after
        signature in the file (`"signatures_ms"`), and by a `DynamicRunner`, whose Python code
        counts (`"exits_ms"`); the means of the latter two over all test images, each up to where
        the file is sure (`"mean_signatures_ms"`, `"mean_ms"`); and the machine. None where Keras's
        backend is not TensorFlow, which writes such files.
    """
    if keras.backend.backend() != "tensorflow":
        return None
    images = test_arrays(data)[0]
    export.to_litert(classifier, path, representative_data=images, min_agreement=0)
    alone, size, machine = _alone(model, path, images)
    count = len(alone)
    up_to = [
        [0.0 if number >= place else math.inf for number in range(count - 1)]
        for place in range(count)
    ]
    runners = [export.DynamicRunner(path, thresholds, threads=1) for thresholds in up_to]
    times = [runner.predict(images[:_TIMED]).milliseconds for runner in runners]
    medians = [float(np.median(own)) for own in times]
    taken = export.DynamicRunner(path, threads=1).predict(images).exits
    signatures = [
        evaluation.latency(path, runs=300, signature=f"exit{number}").median_ms
        for number in range(1, count + 1)
    ]
    sums = np.cumsum(signatures).tolist()
    return {
        "bytes": path.stat().st_size,
        "network_bytes": size,
        "exits_alone_ms": alone,
        "signatures_ms": sums,
        "mean_signatures_ms": float(np.take(sums, taken - 1).mean()),
        "exits_ms": medians,
        "mean_ms": float(np.take(medians, taken - 1).mean()),
        "machine": machine,
    }


def _alone(
    model: "keras.Model", path: pathlib.Path, images: np.ndarray
) -> tuple[list[float], int, str]:
    """The times of each exit's network alone, the bytes of the last one's file, and the machine."""
    own, times = path.with_name("alone.tflite"), []
    for number in range(1, len(model.outputs) + 1):
        network = dynamic.exit_model(model, number)
        export.to_litert(network, own, representative_data=images, min_agreement=0)
        timed = evaluation.latency(own, runs=300)
        times.append(timed.median_ms)
    size = own.stat().st_size
    own.unlink()
    return times, size, timed.machine
