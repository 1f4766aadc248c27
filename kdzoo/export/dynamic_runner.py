"""LiteRT files of several exits, run signature after signature until one is sure."""

import dataclasses
import math
import pathlib
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from kdzoo.export.exits import LOGITS, signature_name
from kdzoo.export.runner import TensorInfo, check_samples, info_of
from kdzoo.graph.confidence import CONFIDENCES, Confidence, confidence_of
from kdzoo.utils import (
    check_choice,
    check_numeric_array,
    check_path,
    check_positive_integer,
    is_number,
    shown,
)
from kdzoo.utils.litert.label_archive import read_metadata
from kdzoo.utils.litert.safe_interpreter import open_litert
from kdzoo.utils.types import PathLike
from kdzoo.utils.untrusted_files import read_bytes

_MOST = 1 << 31
_LARGEST = 1e300  # Thresholds beyond it, also integers that no float holds, are infinity.


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
    the confidence of `logits` is below the threshold, give `features_0`, `features_1`, ... to the
    next signature.

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
        self._interpreter, self.labels, *_ = open_litert(path, threads, is_trusted)
        names = list(self._interpreter.get_signature_list())
        expected = [signature_name(number) for number in range(1, len(names) + 1)]
        if len(names) < 2 or sorted(names) != sorted(expected):
            raise ValueError(
                "Expected a LiteRT file of several exits, with the signatures exit1, exit2, ... "
                f"Received: path={str(path)!r} with {names}; run it by `kdzoo.export.LiteRTModel`."
            )
        said = read_metadata(read_bytes(path, _MOST)).get("exits")
        said = said if isinstance(said, dict) else {}
        if confidence is None:
            confidence = said.get("confidence", "max_probability")
        try:
            self.confidence = check_choice("confidence", confidence, CONFIDENCES)
        except ValueError as error:
            raise ValueError(f"Expected {str(path)!r} with a known measure: {error}") from error
        found = said.get("thresholds") if thresholds is None else thresholds
        if found is None and not needs_thresholds:
            found = [None] * (len(names) - 1)
        self.thresholds = _check_thresholds(found, len(names) - 1, path)
        self._signatures = [self._interpreter.get_signature_runner(name) for name in expected]
        self._inputs = [
            {name: info_of(detail, name) for name, detail in runner.get_input_details().items()}
            for runner in self._signatures
        ]
        self._outputs = [
            {name: info_of(detail, name) for name, detail in runner.get_output_details().items()}
            for runner in self._signatures
        ]
        for outputs, inputs in zip(self._outputs, [*self._inputs[1:], {}], strict=True):
            is_next = set(outputs) == {LOGITS, *inputs} and all(
                info.shape == outputs[name].shape for name, info in inputs.items()
            )
            if not is_next or len(outputs[LOGITS].shape) != 2 or not self._inputs[0]:
                raise ValueError(
                    "Expected signatures that go on from each other. Received: "
                    f"path={str(path)!r}, which gives {sorted(outputs)} where {sorted(inputs)} is "
                    "taken"
                )
        self.inputs = tuple(self._inputs[0].values())
        self.outputs = tuple(
            dataclasses.replace(outputs[LOGITS], name=name)
            for name, outputs in zip(expected, self._outputs, strict=True)
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
            ValueError: If shapes do not fit, or there is no sample.
        """
        logits, exits, times = [], [], []
        for part, size in self._batches(x):
            began = time.perf_counter()
            seen = self._run(part, self.thresholds)
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
        """
        none_stops = [math.inf] * len(self.thresholds)
        seen = [
            [logits[:size] for logits in self._run(part, none_stops)]
            for part, size in self._batches(x)
        ]
        return [np.concatenate(rows) for rows in zip(*seen, strict=True)]

    def _batches(self, x: Any) -> Iterator[tuple[list[np.ndarray], int]]:
        """Batches of the samples, a short one filled up, and how many samples are in them."""
        arrays = self._by_input(x)
        for start in range(0, len(arrays[0]), self.batch_size):
            part = [array[start : start + self.batch_size] for array in arrays]
            size = len(part[0])
            missing = self.batch_size - size
            if missing:
                part = [np.concatenate([a, np.repeat(a[-1:], missing, 0)]) for a in part]
            yield part, size

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
        given = [info.quantize(array) for info, array in zip(self.inputs, arrays, strict=True)]
        tensors = dict(zip(self._inputs[0], given, strict=True))
        seen: list[np.ndarray] = []
        was_sure = np.zeros(self.batch_size, bool)
        for place, runner in enumerate(self._signatures):
            outputs = runner(**tensors)
            logits = self._outputs[place][LOGITS].dequantize(outputs.pop(LOGITS))
            seen.append(logits)
            is_last = place + 1 == len(self._signatures)
            if not is_last:
                was_sure |= confidence_of(logits, self.confidence) >= thresholds[place]
            if is_last or was_sure.all():
                break
            tensors = self._carried(place, outputs)
        return seen

    def _carried(self, place, outputs):
        """What a signature gives, as the next one takes it."""
        carried = {}
        for name, array in outputs.items():
            given, taken = self._outputs[place][name], self._inputs[place + 1][name]
            is_same = (given.dtype, given.scale, given.zero_point) == (
                *(taken.dtype, taken.scale, taken.zero_point),
            )
            carried[name] = array if is_same else taken.quantize(given.dequantize(array))
        return carried

    def _by_input(self, x):
        """The samples as a list of arrays in the order of the inputs, checked."""
        names = [info.name for info in self.inputs]
        if isinstance(x, dict):
            if set(x) != set(names):
                raise ValueError(f"Expected inputs named {names}. Received: {sorted(x)}.")
            x = [x[name] for name in names]
        elif len(names) == 1:
            x = [x]
        if not isinstance(x, list | tuple) or len(x) != len(names):
            raise ValueError(f"Expected one array for each of the inputs {names}.")
        arrays = [check_numeric_array(name, value) for name, value in zip(names, x, strict=True)]
        count = len(arrays[0]) if arrays[0].ndim else 0
        for info, array in zip(self.inputs, arrays, strict=True):
            check_samples(info, array, count)
            if not np.all(np.isfinite(array)):
                raise ValueError("Expected finite samples. Received: NaN or infinite values.")
        return arrays


def _check_thresholds(given: Any, count: int, path: PathLike) -> list[float]:
    """The thresholds as a list of floats, or raises."""
    if given is None:
        raise ValueError(
            f"Expected thresholds. Received: none, and a file without them: path={str(path)!r}; "
            "call `fit` of the `BudgetedClassifier` before the export, or pass thresholds."
        )
    if not isinstance(given, list | tuple) or len(given) != count:
        raise ValueError(
            f"Expected {count} thresholds, one for each exit but the last. Received: "
            f"thresholds={shown(given)}"
        )
    values = [math.inf if value is None else value for value in given]
    if not all(is_number(value) and 0 <= value <= math.inf for value in values):
        raise ValueError(f"Expected thresholds of at least 0. Received: thresholds={shown(given)}")
    return [float(value) if value < _LARGEST else math.inf for value in values]
