"""How long a smaller network takes, measured in LiteRT beside the network that it is made of."""

import pathlib
import tempfile
from typing import NamedTuple, Self

import keras

from kdzoo.evaluation.latency import latency
from kdzoo.export import to_litert
from kdzoo.export.signature import check_exportable

_ROUNDS, _RUNS, _WARMUP = 3, 30, 5


class Latencies(NamedTuple):
    """Times of one run on one example, in milliseconds.

    Attributes:
        before: Of the unpruned network.
        after: Of the smaller one.
    """

    before: float
    after: float


def check_latency(target: str, model: keras.Model) -> None:
    """Raises, before anything is done, unless a model can be measured if a target needs it.

    Args:
        target: Name of the target.
        model: The model.

    Raises:
        RuntimeError: If the backend is not TensorFlow.
    """
    if target.startswith("target_latency"):
        check_exportable(model)


class MeasuredLatency:
    """Measures float32 LiteRT files in one thread, always two of them in turn; a context manager.

    Other work on a machine makes runs slow and never fast, so each time is the least of the medians
    of several rounds.

    Args:
        unpruned: The network whose time others are compared with.
    """

    def __init__(self, unpruned: keras.Model) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="kdzoo-latency-")
        try:
            self._unpruned = self._file(unpruned, "unpruned")
        except BaseException:
            self._directory.cleanup()
            raise

    def __call__(self, model: keras.Model) -> Latencies:
        """Returns the times of the unpruned network and of a model."""
        files = (self._unpruned, self._file(model, "smaller"))
        rounds = [
            [latency(file, runs=_RUNS, warmup=_WARMUP).median_ms for file in files]
            for _ in range(_ROUNDS)
        ]
        return Latencies(*map(min, zip(*rounds, strict=True)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._directory.cleanup()

    def _file(self, model: keras.Model, name: str) -> pathlib.Path:
        path = pathlib.Path(self._directory.name) / f"{name}.tflite"
        to_litert(model, path, samples=1, min_agreement=0.0, check_images=False)
        return path
