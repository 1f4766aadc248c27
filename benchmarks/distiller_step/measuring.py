"""Measures all contenders on one piece of work, each in a process of its own, in turns."""

import importlib.util
import multiprocessing
import tempfile

import limits_and_tables as report
import shared_work as sw

# How far the losses of equal weights on equal images may lie apart, relative where above 1.
TOLERANCE = {"float32": 1e-4, "mixed_bfloat16": 1e-2}
WARM_UP = 3


class Process:
    """A contender in a process of its own, which waits for the calls of this one."""

    def __init__(self, name, work):
        context = multiprocessing.get_context("spawn")
        self.name = name
        self._pipe, theirs = context.Pipe()
        self._says = tempfile.NamedTemporaryFile(prefix="step_", suffix=".log")  # noqa: SIM115
        self._process = context.Process(
            target=sw.serve, args=(theirs, self._says.name, name, work), daemon=True
        )
        self._process.start()
        theirs.close()

    def receive(self):
        """Returns the result that is due.

        Raises:
            RuntimeError: If the contender failed or died.
        """
        try:
            ok, result = self._pipe.recv()
        except EOFError:
            self._process.join(10)
            said = self._says.read().decode(errors="replace")[-2000:]
            ok, result = False, f"exit code {self._process.exitcode}. {said}"
        if not ok:
            raise RuntimeError(f"The contender {self.name!r} failed: {result}")
        return result

    def call(self, method, *arguments):
        """Calls a method of the contender and returns its result."""
        self._pipe.send((method, *arguments))
        return self.receive()

    def close(self):
        self._pipe.close()
        self._process.join(10)
        if self._process.is_alive():
            self._process.kill()
        self._says.close()


def measure(work, options, show):
    """Runs all contenders on one piece of work.

    Args:
        work: The `Work`.
        options: The command line's options.
        show: Function that shows a line on what is being done.

    Returns:
        A dictionary, one element of the JSON's `rows`.
    """
    names = [name for name in sw.CONTENDERS if _takes_part(name, work)]
    processes = {name: Process(name, work) for name in names}
    try:
        show("building")
        facts = {name: process.receive() for name, process in processes.items()}
        show("comparing losses")
        losses = _compare(work, processes)
        _check_equal_work(work, facts, losses)
        times = _take_turns(processes, options.rounds, show, "time_steps", options.steps)
        peaks = {name: process.call("peak_memory") for name, process in processes.items()}
        alone = {name: processes[name] for name in ("kdzoo", "floor")}
        evaluations = _take_turns(
            alone, options.evaluate_rounds, show, "time_evaluate", options.evaluate_batches
        )
    finally:
        for process in processes.values():
            process.close()
    row = {"work": vars(work), "label": work.label}
    row["contenders"] = {
        name: {**facts[name], **report.summary(work, times, name), "peak_memory_bytes": peaks[name]}
        for name in names
    }
    row["losses"] = losses
    row["evaluate"] = {
        "images": work.batch * options.evaluate_batches,
        "kdzoo_seconds": evaluations["kdzoo"],
        "student_seconds": evaluations["floor"],
        "ratio": report.ratio(evaluations["kdzoo"], evaluations["floor"]),
    }
    row["targets"] = report.targets(row)
    return row


def _takes_part(name, work):
    """Whether a contender is measured: what oneDNN does, where it is most of the step."""
    if name == sw.ONEDNN_OFF:
        return work.dtype == "float32" and (not work.taps or work.pair == "smoke")
    return name != "pytorch" or has_torch()


def _compare(work, processes):
    """Warms everybody up and returns the losses of the first steps, before any weight differs."""
    losses = {}
    if "pytorch" in processes:
        weights = processes["floor"].call("weights")
        losses["pytorch"] = [processes["pytorch"].call("load", *weights)]
    for name, process in processes.items():
        first = process.call("warm_up", WARM_UP)
        losses.setdefault(name, first)
    return losses


def _check_equal_work(work, facts, losses):
    """Raises `RuntimeError` where the contenders do not compute the same thing."""
    for name, fact in facts.items():
        if fact["parameters"] != facts["kdzoo"]["parameters"]:
            raise RuntimeError(
                f"Expected {name} to have as many trainable parameters as kdzoo, "
                f"{facts['kdzoo']['parameters']}. Received: {fact['parameters']}"
            )
    ours = losses["kdzoo"][0]
    for name, theirs in losses.items():
        if name != "floor" and not abs(theirs[0] - ours) <= TOLERANCE[work.dtype] * max(1, ours):
            raise RuntimeError(
                f"Expected {name} to compute the loss that kdzoo computes, {ours:.6f} in "
                f"{work.dtype}. Received: {theirs[0]:.6f}"
            )


def _take_turns(processes, rounds, show, method, argument):
    """Calls every process once a round, starting with another one every time.

    Returns:
        Name -> what the method returned, by round.
    """
    times = {name: [] for name in processes}
    names = list(processes)
    for number in range(rounds):
        show(f"{method.replace('_', ' ')}, round {number + 1} of {rounds}")
        start = number % len(names)
        for name in names[start:] + names[:start]:
            times[name].append(processes[name].call(method, argument))
    return times


def has_torch():
    """Whether PyTorch is installed."""
    return importlib.util.find_spec("torch") is not None
