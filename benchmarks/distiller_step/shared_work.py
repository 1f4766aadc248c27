"""The work that every contender is given: pairs, losses, images; and how a contender is run."""

import dataclasses
import importlib
import math
import os
import resource
import sys
import time
import traceback

import numpy as np

TEMPERATURE = 4.0
STUDENT_LOSS_WEIGHT = 0.5
LEARNING_RATE = 0.01
MOMENTUM = 0.9
EPSILON = 1e-6  # Keeps an attention map of zeros from a division by zero.
TAPS = ("stage2", "stage3")
IMAGE_SHAPE = (32, 32, 3)
CLASSES = 10

# Name -> what it is called, the teacher and the student as (builder, arguments).
PAIRS = {
    "wrn16-separable": (
        "WRN-16-2 → separable 0.5",
        ("wide_resnet", {"depth": 16, "width": 2}),
        ("separable", {"width": 0.5}),
    ),
    "wrn40-wrn16": (
        "WRN-40-2 → WRN-16-2",
        ("wide_resnet", {"depth": 40, "width": 2}),
        ("wide_resnet", {"depth": 16, "width": 2}),
    ),
    "smoke": (
        "WRN-10-1 → separable 0.125",
        ("wide_resnet", {"depth": 10, "width": 1}),
        ("separable", {"width": 0.125}),
    ),
}

ONEDNN_OFF = "kdzoo, oneDNN off"
# Name -> what stands in the environment of that contender before anything is imported.
ENVIRONMENTS = {ONEDNN_OFF: {"TF_ENABLE_ONEDNN_OPTS": "0"}}

# Name -> "module:class" of what runs it, imported in the contender's own process.
CONTENDERS = {
    "kdzoo": "keras_contenders:Kdzoo",
    ONEDNN_OFF: "keras_contenders:Kdzoo",
    "keras.distillation": "keras_contenders:KerasDistillation",
    "pytorch": "pytorch_contender:PyTorch",
    "floor": "keras_contenders:Floor",
}


@dataclasses.dataclass(frozen=True)
class Work:
    """What is computed in one row of the table, the same for every contender.

    Attributes:
        pair: A name in `PAIRS`.
        dtype: `"float32"` or `"mixed_bfloat16"`.
        taps: Whether the two layers of `TAPS` are distilled besides the soft targets.
        batch: Images in a step.
        seed: Of weights, images and labels.
    """

    pair: str
    dtype: str
    taps: bool
    batch: int = 128
    seed: int = 0

    @property
    def label(self):
        losses = "soft targets + 2 taps" if self.taps else "soft targets"
        return f"{PAIRS[self.pair][0]}, {self.dtype}, {losses}"

    def data(self, batches=1):
        """Returns random images (count, 32, 32, 3), float32 in [0, 1), and labels (count,)."""
        rng = np.random.default_rng(self.seed)
        count = self.batch * batches
        images = rng.random((count, *IMAGE_SHAPE), dtype="float32")
        return images, rng.integers(0, CLASSES, count)


class Contender:
    """One way of taking the step. Subclasses build themselves from a `Work` and implement `step`.

    Attributes:
        work: The `Work`.
        parameters: Trainable parameters as (teacher's, student's).
        versions: Name -> version of what computes.
    """

    def __init__(self, work):
        self.work = work
        self.parameters = ()
        self.versions = {}

    def step(self):
        """Takes one whole training step, waits for it and returns the loss."""
        raise NotImplementedError

    def warm_up(self, steps):
        """Takes untimed steps, compiling on the way, and returns their losses."""
        return [float(self.step()) for _ in range(steps)]

    def time_steps(self, steps):
        """Returns the seconds of one step, averaged over `steps` in a row.

        Raises:
            FloatingPointError: If the loss is no longer finite, as the time then tells nothing.
        """
        start = time.perf_counter()
        for _ in range(steps):
            loss = self.step()
        seconds = (time.perf_counter() - start) / steps
        if not math.isfinite(loss):
            raise FloatingPointError(f"Expected a finite loss. Received: {loss}")
        return seconds

    def facts(self):
        return {"parameters": self.parameters, "versions": self.versions}

    def peak_memory(self):
        """Returns the most memory this process has ever held resident, in bytes."""
        try:
            with open("/proc/self/status") as lines:
                return next(int(line.split()[1]) * 1024 for line in lines if "VmHWM" in line)
        except (OSError, StopIteration):
            unit = 1 if sys.platform == "darwin" else 1024
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def threads():
    """The number of threads that every contender computes with: all this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def serve(connection, log, contender, work):
    """Runs a contender in a process of its own, which does what its parent process calls.

    Args:
        connection: Pipe on which `(method, *arguments)` comes in and `(ok, result)` goes out. The
            first result goes out without a call, when the contender is built.
        log: Path of the file to which goes what the libraries print.
        contender: A name in `CONTENDERS`.
        work: The `Work`.
    """
    with open(log, "w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    try:
        os.environ.update(ENVIRONMENTS.get(contender, {}))
        module, _, name = CONTENDERS[contender].partition(":")
        runner = getattr(importlib.import_module(module), name)(work)
        connection.send((True, runner.facts()))
        while True:
            method, *arguments = connection.recv()
            connection.send((True, getattr(runner, method)(*arguments)))
    except EOFError:
        return
    except Exception:
        connection.send((False, traceback.format_exc()))
