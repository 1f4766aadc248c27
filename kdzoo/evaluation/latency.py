"""How long one run of a LiteRT file takes on this machine."""

import dataclasses
import functools
import os
import pathlib
import platform
import time
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from kdzoo.utils import check_integer, check_path
from kdzoo.utils.litert.safe_interpreter import OpenedFile, open_litert
from kdzoo.utils.types import PathLike

_MOST_THREADS, _MOST_RUNS = 1024, 10_000_000


class HasPath(Protocol):
    """An object with the path of a LiteRT file, such as a `kdzoo.export.LiteRTModel`."""

    @property
    def path(self) -> PathLike:
        """The path of the file."""


@dataclasses.dataclass(frozen=True)
class Latency:
    """The time of one run of a LiteRT file, which computes one batch of the file's own size.

    Attributes:
        median_ms: Median in milliseconds.
        q1_ms: First quartile, in milliseconds; a quarter of the runs was faster.
        q3_ms: Third quartile, in milliseconds; a quarter of the runs was slower.
        threads: Threads of the interpreter.
        runs: Timed runs.
        batch_size: Examples in one run.
        machine: The processor's name.
    """

    median_ms: float
    q1_ms: float
    q3_ms: float
    threads: int
    runs: int
    batch_size: int
    machine: str

    @property
    def iqr_ms(self) -> float:
        """The interquartile range, q3 - q1, in milliseconds."""
        return self.q3_ms - self.q1_ms

    def __str__(self) -> str:
        """Returns one line with the median, the quartiles, and what they were measured on."""
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        return (
            f"{self.median_ms:.3g} ms (quartiles {self.q1_ms:.3g} to {self.q3_ms:.3g}, "
            f"{self.runs} runs, batch {self.batch_size}, {threads}, {self.machine})"
        )


def latency(
    model: PathLike | HasPath,
    threads: int = 1,
    *,
    runs: int = 100,
    warmup: int = 10,
    signature: str | None = None,
) -> Latency:
    """Times a LiteRT file in the LiteRT interpreter.

    A run is the interpreter's `invoke` on random inputs: neither loading nor copying counts. A run
    of a signature also copies its inputs and outputs, which LiteRT does not separate. The
    median and the quartiles are reported because other work on a machine makes some runs slow and
    never makes one fast. The time on a phone is another: measure there before you promise it.

    Args:
        model: Path of a `.tflite` file, or an object that has it as `path`, such as a
            `kdzoo.export.LiteRTModel`; the file is opened anew with `threads`.
        threads: Threads of the interpreter, 1 or more.
        runs: Timed runs, 1 or more.
        warmup: Runs before the first timed one.
        signature: The signature that is timed, of a file of several; that of a `LiteRTModel`, or
            the file's own choice, when None.

    Returns:
        A `Latency`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a number is out of range, or the file is not a LiteRT model.

    Example:

    ```python
    print(kdzoo.evaluation.latency("student.tflite", threads=4))
    ```
    """
    threads = check_integer("threads", threads, 1, _MOST_THREADS)
    runs, warmup = (
        check_integer("runs", runs, 1, _MOST_RUNS),
        check_integer("warmup", warmup, 0, _MOST_RUNS),
    )
    path = check_path("model", getattr(model, "path", model))
    file = open_litert(path, threads)
    own = getattr(model, "signature", None) if signature is None else signature
    run, batch_size = _run_of(file, file.signature(own))
    for _ in range(warmup):
        run()
    times = np.empty(runs)
    for number in range(runs):
        start = time.perf_counter()
        run()
        times[number] = time.perf_counter() - start
    q1, median, q3 = map(float, np.percentile(times * 1000, [25, 50, 75]))
    return Latency(
        median_ms=median,
        q1_ms=q1,
        q3_ms=q3,
        threads=threads,
        runs=runs,
        batch_size=batch_size,
        machine=machine_name(),
    )


def _run_of(file: OpenedFile, signature: str | None) -> tuple[Callable[[], Any], int]:
    """What runs a network of a file once on random inputs, and the samples in a run."""
    if signature is not None:
        runner = file.interpreter.get_signature_runner(signature)
        details = runner.get_input_details()
        given = {name: _random_input(detail) for name, detail in details.items()}
        run = functools.partial(runner, **given)
    else:
        details = dict(enumerate(file.interpreter.get_input_details()))
        for detail in details.values():
            file.interpreter.set_tensor(detail["index"], _random_input(detail))
        run = file.interpreter.invoke
    if not details:
        raise ValueError(f"Expected a network with inputs. Received: {str(file.path)!r}")
    first, *_ = details.values()
    return run, int([*first["shape"], 1][0])


def machine_name() -> str:
    """Returns the name of this machine's processor, e.g. `"Apple M2"` or `"aarch64"`."""
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() in ("model name", "Hardware") and value.strip():
                return value.strip()
    return platform.processor() or platform.machine() or os.name


def _random_input(detail):
    """Returns reproducible values for one input: floats in [0, 1), integers of the whole range."""
    generator = np.random.default_rng(0)
    dtype = np.dtype(detail["dtype"])
    if dtype.kind == "f":
        return generator.random(detail["shape"], "float32").astype(dtype)
    if dtype in (np.int8, np.uint8):
        limits = np.iinfo(dtype)
        return generator.integers(limits.min, limits.max + 1, detail["shape"]).astype(dtype)
    return np.zeros(detail["shape"], dtype)  # indices, for which only 0 is sure to exist
