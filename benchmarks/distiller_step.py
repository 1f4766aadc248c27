"""One distillation step: kdzoo against keras.distillation, PyTorch and the floor, on the CPU.

    python benchmarks/distiller_step.py            all pairs, both precisions; tens of minutes
    python benchmarks/distiller_step.py --smoke    tiny, says only that everything runs

The floor is what no distiller can do without: the teacher's forward pass and the student's own
training step, both with fused batch normalization. Every contender lives in a process of its own,
so that its peak memory is its own, with the same weights, images, losses, optimizer and number of
threads. All are built and compiled first. Then they take turns of a few steps, round after round,
while the others wait, so that a machine that drifts drifts for all alike. The figures are
medians over rounds; ratios are taken within a round. Before anything is timed, the losses are
compared and the parameters counted, so that equal work is measured. Run it on an idle machine.
"""

import argparse
import importlib.util
import json
import multiprocessing
import os
import pathlib
import sys
import tempfile

import rich.console
import step_report as report
import step_work as sw

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
    names = [name for name in sw.CONTENDERS if name != "pytorch" or _has_torch()]
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


def _has_torch():
    return importlib.util.find_spec("torch") is not None


def _parse(arguments):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    pairs = [pair for pair in sw.PAIRS if pair != "smoke"]
    parser.add_argument("--rounds", type=int, default=10, help="turns of each contender")
    parser.add_argument("--steps", type=int, default=3, help="steps in a turn")
    parser.add_argument("--only", choices=pairs, metavar="PAIR", help=f"one of {pairs}")
    parser.add_argument("--dtype", choices=list(TOLERANCE), help="only this precision")
    parser.add_argument("--json", type=pathlib.Path, metavar="PATH", help="write the figures here")
    parser.add_argument("--smoke", action="store_true", help="tiny networks, one round")
    options = parser.parse_args(arguments)
    if options.rounds < 1 or options.steps < 1:
        parser.error(f"expected at least 1. Received: {options.rounds=}, {options.steps=}")
    options.evaluate_batches = 8
    # Short, and on some machines of two speeds: it takes many rounds to tell two of them apart.
    options.evaluate_rounds = 4 * options.rounds
    if options.smoke:
        options.rounds, options.steps, options.evaluate_batches = 1, 1, 2
        options.evaluate_rounds = 1
    return options


def _works(options):
    pairs = ["smoke"] if options.smoke else [pair for pair in sw.PAIRS if pair != "smoke"]
    dtypes = ["float32"] if options.smoke else list(TOLERANCE)
    return [
        sw.Work(pair, dtype, taps, batch=8 if options.smoke else 128)
        for pair in ([options.only] if options.only and not options.smoke else pairs)
        for dtype in ([options.dtype] if options.dtype else dtypes)
        for taps in ([True] if options.smoke else [False, True])
    ]


def _write(path, content):
    """Writes JSON whole or not at all."""
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(content, indent=1) + "\n")
    part.replace(path)


def main(arguments=None):
    """Runs the benchmark and prints a table as each row is done."""
    options = _parse(arguments)
    # Before a contender is started: it inherits them.
    os.environ.update(KERAS_BACKEND="tensorflow", CUDA_VISIBLE_DEVICES="-1")
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))  # This checkout's kdzoo.
    console = rich.console.Console(width=None if sys.stdout.isatty() else 110)
    on = report.machine()
    console.print(f"{on['cpu']}, {on['threads']} threads, load {on['load']:.1f} at the start")
    if on["load"] > 0.5:
        console.print("[yellow]The machine is not idle; the figures may mean little.[/]")
    rows, works = [], _works(options)
    for number, work in enumerate(works, start=1):
        prefix = f"{number}/{len(works)} {work.label}"
        with console.status(prefix) as status:
            rows.append(
                measure(work, options, lambda text, s=status, p=prefix: s.update(f"{p}: {text}"))
            )
        console.print(report.table(rows[-1]))
        if options.json:
            _write(options.json, {"machine": on, "smoke": options.smoke, "rows": rows})
    if not _has_torch():
        console.print("PyTorch is not installed and was left out.")
    if options.smoke:
        console.print("A smoke run: too small for the targets to mean anything.")
    missed = sum(not target["met"] for row in rows for target in row["targets"])
    console.print(f"Targets missed: {missed} of {sum(len(row['targets']) for row in rows)}")


if __name__ == "__main__":
    main()
