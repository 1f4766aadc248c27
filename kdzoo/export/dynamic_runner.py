"""LiteRT files of several exits, run signature after signature until one is sure."""

import dataclasses
import math
import pathlib
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from kdzoo.export.exits import LOGITS, signature_name
from kdzoo.export.runner import FileNetwork
from kdzoo.export.tensors import TensorInfo, arrays_of, checked_arrays
from kdzoo.graph.confidence import CONFIDENCES, Confidence, check_thresholds, confidence_of
from kdzoo.utils import check_choice, check_path, check_positive_integer
from kdzoo.utils.litert.safe_interpreter import open_litert
from kdzoo.utils.types import PathLike


@dataclasses.dataclass(frozen=True)
class DynamicPredictions:
    """What a file of several exits predicts.

    Attributes:
        logits: Array `(samples, classes)`, float32, of the exit at which each sample stopped.
        exits: Integers `(samples,)`: that exit, 1 is the first.
        milliseconds: Array `(samples,)`: how long each sample took.
    """

    logits: np.ndarray
    exits: np.ndarray
    milliseconds: np.ndarray

    @property
    def classes(self) -> np.ndarray:
        """Integers `(samples,)`, the predicted classes."""
        return self.logits.argmax(-1)


class DynamicRunner:
    """A LiteRT file of several exits, which stops each sample at the first exit that is sure of it.

    `kdzoo.export.to_litert(classifier, path)` of a `kdzoo.dynamic.BudgetedClassifier` writes such
    a file; its thresholds are in it. On a device do the same: run the signature `exit1`, and while
    the confidence of `logits` is below the threshold, run the next one, which takes by their names
    some of the features that those before it gave, and of the network's inputs.

    Args:
        path: A `.tflite` file with the signatures `exit1`, `exit2`, ...
        thresholds: The least confidence with which each exit but the last stops; those in the file
            when None.
        confidence: How sure an exit is, as in `kdzoo.dynamic.BudgetedClassifier`; as the file says
            when None.
        threads: Threads of the interpreter; None leaves the choice to LiteRT.

    Attributes:
        path: The file, a `pathlib.Path`.
        thresholds: A list with a number for each exit but the last.
        confidence: The name of the measure.
        inputs: Tuple of `TensorInfo` of the network's inputs.
        outputs: Tuple of `TensorInfo` of the exits' logits, called `exit1`, `exit2`, ...
        labels: List of the class names in the file, or None.

    Raises:
        FileNotFoundError: If there is no file at `path`.
        ValueError: If it is no LiteRT file of several exits, or there are no thresholds.

    Example:

    ```python
    runner = kdzoo.export.DynamicRunner("exits.tflite")
    predictions = runner.predict(images)
    predictions.classes, predictions.exits, predictions.milliseconds.mean()
    ```
    """

    path: pathlib.Path
    thresholds: list[float]
    confidence: Confidence
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    labels: list[str] | None

    def __init__(
        self,
        path: PathLike,
        thresholds: Sequence[float] | None = None,
        confidence: Confidence | None = None,
        threads: int | None = None,
    ):
        self._open(check_path("path", path), thresholds, confidence, threads, is_trusted=False)

    @classmethod
    def of_own_file(cls, path: PathLike) -> "DynamicRunner":
        """Returns the runner of a file that this process has just written, without a trial run."""
        runner = cls.__new__(cls)
        runner._open(path, None, None, None, is_trusted=True, needs_thresholds=False)
        return runner

    def _open(self, path, thresholds, confidence, threads, is_trusted, needs_thresholds=True):
        self.path = pathlib.Path(path)
        if threads is not None:
            threads = check_positive_integer("threads", threads, 1024)
        file = open_litert(path, threads, is_trusted)
        self.labels, names = file.labels, list(file.signatures)
        expected = [signature_name(number) for number in range(1, len(names) + 1)]
        if len(names) < 2 or sorted(names) != sorted(expected):
            raise ValueError(
                "Expected a LiteRT file of several exits, with the signatures exit1, exit2, ... "
                f"Received: path={str(path)!r} with {names}; run it by `kdzoo.export.LiteRTModel`."
            )
        said = file.metadata.get("exits")
        said = said if isinstance(said, dict) else {}
        if confidence is None:
            confidence = said.get("confidence", "max_probability")
        try:
            self.confidence = check_choice("confidence", confidence, CONFIDENCES)
        except ValueError as error:
            raise ValueError(f"Expected {str(path)!r} with a known measure: {error}") from error
        count = len(names) - 1
        if thresholds is not None:
            self.thresholds = check_thresholds(thresholds, count)
        elif needs_thresholds or said.get("thresholds") is not None:
            self.thresholds = _thresholds_in_file(said.get("thresholds"), count, path)
        else:
            self.thresholds = [math.inf] * count
        self._parts = [FileNetwork(file, name) for name in expected]
        _check_parts(self._parts, path)
        self.inputs = _inputs(self._parts)
        self.outputs = tuple(
            dataclasses.replace(_by_name(part.outputs)[LOGITS], name=part.signature)
            for part in self._parts
        )
        classes = self.outputs[-1].shape[-1]
        if self.labels is not None and len(self.labels) != classes:
            raise ValueError(
                f"Expected {path} to have a label for each of {classes} classes. Received: "
                f"{len(self.labels)} labels; export it or fetch it again."
            )

    @property
    def batch_size(self) -> int:
        """Samples in one run of the file; a batch goes on until all of it was sure."""
        return self.inputs[0].shape[0]

    def predict(self, x: Any) -> DynamicPredictions:
        """Returns predictions of any number of samples, each computed up to where it stops.

        Args:
            x: Array `(samples, ...)` of the values that the Keras model takes; for several inputs
                a list in the order of `inputs`, or a dict by name.

        Raises:
            ValueError: If shapes do not fit, there is no sample, or values are not finite or lie
                far outside what a quantized input can hold (raw pixels for a file that takes
                [0, 1]).

        Warns:
            UserWarning: If values lie so far outside of that, by its whole width, that what is cut
                off changes the results.
        """
        arrays = checked_arrays(self.inputs, x)
        _check_finite(arrays)
        logits, exits, times = [], [], []
        for batch, size in self._parts[0].batches(arrays):
            began = time.perf_counter()
            seen = self._run(batch, self.thresholds)
            took = 1000 * (time.perf_counter() - began)
            stopped = self._first_sure(seen)
            logits.append(np.stack(seen)[stopped, np.arange(len(stopped))][:size])
            exits += list(stopped[:size] + 1)
            times += [took / size] * size
        return DynamicPredictions(np.concatenate(logits), np.asarray(exits), np.asarray(times))

    def logits_of_exits(self, x: Any) -> list[np.ndarray]:
        """Returns the logits of every exit, arrays `(samples, classes)`, whatever the thresholds.

        Args:
            x: What `predict` takes.

        Raises:
            ValueError: If shapes do not fit, there is no sample, or values are not finite or lie
                far outside what a quantized input can hold.
        """
        arrays = checked_arrays(self.inputs, x)
        _check_finite(arrays)
        return self._logits(arrays)

    def _logits(self, arrays):
        none_stops = [math.inf] * len(self.thresholds)
        seen = [
            [logits[:size] for logits in self._run(batch, none_stops)]
            for batch, size in self._parts[0].batches(arrays)
        ]
        return [np.concatenate(rows) for rows in zip(*seen, strict=True)]

    def _first_sure(self, seen: list[np.ndarray]) -> np.ndarray:
        """For each sample of a batch the first exit that was sure, counted from 0, or the last."""
        sure = [
            confidence_of(logits, self.confidence) >= threshold
            for logits, threshold in zip(seen, self.thresholds, strict=False)
        ]
        sure += [np.ones(len(seen[0]), bool)] * (len(seen) > len(sure))
        return np.where(np.any(sure, axis=0), np.argmax(sure, axis=0), len(seen) - 1)

    def _run(self, arrays: list[np.ndarray], thresholds: list[float]) -> list[np.ndarray]:
        """The logits of the exits of a batch, up to the one at which all of it is sure."""
        values = dict(zip(_by_name(self.inputs), arrays, strict=True))
        made: dict[str, tuple[TensorInfo, np.ndarray]] = {}
        seen: list[np.ndarray] = []
        was_sure = np.zeros(self.batch_size, bool)
        for place, part in enumerate(self._parts):
            given = [
                _handed_on(*made[taken.name], taken)
                if taken.name in made
                else taken.quantize(values[taken.name])
                for taken in part.inputs
            ]
            outputs = _by_name(part.outputs)
            made |= dict(zip(outputs, zip(part.outputs, part.run(given), strict=True), strict=True))
            info, logits = made.pop(LOGITS)
            seen.append(info.dequantize(logits))
            if place + 1 == len(self._parts):
                break
            was_sure |= confidence_of(seen[-1], self.confidence) >= thresholds[place]
            if was_sure.all():
                break
        return seen


def _check_finite(arrays):
    """Raises if a sample is not finite, on which no exit is ever sure."""
    if not all(np.all(np.isfinite(array)) for array in arrays):
        raise ValueError("Expected finite samples. Received: NaN or infinite values.")


def _by_name(infos: Sequence[TensorInfo]) -> dict[str, TensorInfo]:
    return {info.name: info for info in infos}


def _handed_on(given: TensorInfo, array: np.ndarray, taken: TensorInfo) -> np.ndarray:
    """What a signature gives, as the next one takes it."""
    integers = [(info.dtype, info.scale, info.zero_point) for info in (given, taken)]
    return array if integers[0] == integers[1] else taken.quantize(given.dequantize(array))


def logits_unchecked(runner: DynamicRunner, x: Any) -> list[np.ndarray]:
    """Returns what `logits_of_exits` does, without a look at the range of the values.

    Args:
        runner: The file.
        x: What `predict` takes.
    """
    return runner._logits(arrays_of(runner.inputs, x))


def _inputs(parts: list[FileNetwork]) -> tuple[TensorInfo, ...]:
    """What parts take that no part before them gives: the inputs of the network."""
    found: dict[str, TensorInfo] = {}
    made: set[str] = set()
    for part in parts:
        for info in part.inputs:
            if info.name not in made:
                found.setdefault(info.name, info)
        made |= {info.name for info in part.outputs} - {LOGITS}
    return tuple(found.values())


def _check_parts(parts: list[FileNetwork], path: PathLike) -> None:
    """Raises unless all features are taken, in their shapes, and each part gives logits."""
    classes = parts[-1].outputs[-1].shape[-1:]
    known = {info.name: info.shape for info in _inputs(parts)}
    for number, part in enumerate(parts, 1):
        given = {info.name: info.shape for info in part.outputs}
        shape = given.pop(LOGITS, None)
        later = {info.name for following in parts[number:] for info in following.inputs}
        goes_on = all(known[info.name] == info.shape for info in part.inputs)
        if shape is None or not goes_on or not set(given) <= later:
            raise ValueError(
                "Expected signatures that go on from each other. Received: "
                f"path={str(path)!r}, which gives {sorted(given)} at {part.signature} where "
                f"{sorted(later)} is taken"
            )
        if len(shape) != 2 or shape != (parts[0].batch_size, *classes):
            raise ValueError(
                "Expected logits of the same classes at each exit, one row for a sample. Received: "
                f"path={str(path)!r}, which gives {shape} at {part.signature}"
            )
        known |= given


def _thresholds_in_file(found: Any, count: int, path: PathLike) -> list[float]:
    """The thresholds that a file says, or raises."""
    if found is None:
        raise ValueError(
            f"Expected thresholds. Received: none, and a file without them: path={str(path)!r}; "
            "call `fit` of the `BudgetedClassifier` before the export, or pass thresholds."
        )
    try:
        return check_thresholds(found, count)
    except ValueError as error:
        raise ValueError(
            f"Expected {str(path)!r} with thresholds that can be used; export it again, or pass "
            f"thresholds. {error}"
        ) from error
