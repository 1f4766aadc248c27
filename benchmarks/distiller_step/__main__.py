"""One distillation step: kdzoo against keras.distillation, PyTorch and the floor, on the CPU.

    python benchmarks/distiller_step            all pairs, both precisions; tens of minutes
    python benchmarks/distiller_step --smoke    tiny, says only that everything runs

The floor is what no distiller can do without: the teacher's forward pass and the student's own
training step, both with fused batch normalization. Every contender lives in a process of its own,
so that its peak memory is its own, with the same weights, images, losses, optimizer and number of
threads. All are built and compiled first. Then they take turns of a few steps, round after round,
while the others wait, so that a machine that drifts drifts for all alike. In float32 without taps
kdzoo is also measured with oneDNN off, as TensorFlow leaves it on some processors. The figures are
medians over rounds; ratios are taken within a round. Before anything is timed, the losses are
compared and the parameters counted, so that equal work is measured. Run it on an idle machine.
"""

import argparse
import json
import os
import pathlib
import sys

import limits_and_tables as report
import rich.console
import shared_work as sw
from measuring import TOLERANCE, has_torch, measure


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
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))  # This checkout's kdzoo.
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
    if not has_torch():
        console.print("PyTorch is not installed and was left out.")
    if options.smoke:
        console.print("A smoke run: too small for the targets to mean anything.")
    missed = sum(not target["met"] for row in rows for target in row["targets"])
    console.print(f"Targets missed: {missed} of {sum(len(row['targets']) for row in rows)}")


if __name__ == "__main__":
    main()
