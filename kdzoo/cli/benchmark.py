"""`kdzoo benchmark`: how fast a `.tflite` file is on this machine."""

import pathlib
import re
from typing import Annotated

import typer

from kdzoo.cli import model_files, terminal
from kdzoo.cli.progress import TrainingProgress


def benchmark(
    file: Annotated[
        pathlib.Path,
        typer.Argument(help="A .tflite file, or the name of a pretrained model that ships one."),
    ],
    threads: Annotated[
        int, typer.Option(min=1, help="Let the interpreter use so many threads.")
    ] = 1,
    runs: Annotated[int, typer.Option(min=1, help="Time so many runs.")] = 200,
) -> None:
    """Time a .tflite file on this machine.

    Median and quartiles of one run, which is one image unless the file says otherwise. Of a file of
    several signatures, such as exits or widths, each one is timed.
    """
    path = _tflite_of(file)
    terminal.start_keras()
    from kdzoo.evaluation import file_bytes, latency
    from kdzoo.utils.litert.safe_interpreter import open_litert

    size = file_bytes(path)
    with terminal.quiet():
        found = sorted(open_litert(path).signatures, key=_number_of_exit)
    signatures = found if len(found) > 1 else [None]
    measured = []
    with TrainingProgress(steps=len(signatures)) as progress, terminal.quiet():
        for signature in signatures:
            progress.step(f"time {runs} runs of {file}{f', {signature}' if signature else ''}")
            measured.append(latency(path, threads, runs=runs, signature=signature))
    if len(measured) == 1:
        typer.echo(f"{file}: {measured[0]}; {size:,} bytes")
        return
    are_exits = all(map(_number_of_exit, found))
    columns = ["signature", ">ms", ">quartiles", *[">ms up to here"] * are_exits]
    table = terminal.table(*columns)
    before = 0.0
    for signature, one in zip(found, measured, strict=True):
        before += one.median_ms
        quartiles = f"{one.q1_ms:.3g} to {one.q3_ms:.3g}"
        sums = [f"{before:.3g}"] * are_exits
        table.add_row(signature, f"{one.median_ms:.3g}", quartiles, *sums)
    terminal.show(table)
    first = measured[0]
    typer.echo(
        f"{file}: {runs} runs, batch {first.batch_size}, "
        f"{first.threads} {'thread' if first.threads == 1 else 'threads'}, {first.machine}; "
        f"{size:,} bytes"
    )


def _number_of_exit(signature: str) -> int:
    """The number of an exit, by which signatures are sorted; 0 of any other signature."""
    found = re.fullmatch(r"exit([1-9]\d{0,5})", signature)
    return int(found[1]) if found else 0


def _tflite_of(path: pathlib.Path) -> pathlib.Path:
    """Returns the path of a `.tflite` file: itself, or that which ships for a pretrained model."""
    if model_files.is_name(path):
        from kdzoo.zoo import tflite

        model_files.check_ships_file(path.as_posix(), "FILE.tflite")
        return tflite(path.as_posix())
    if path.is_dir() or path.suffix != ".tflite":
        what = f"{path}, a directory" if path.is_dir() else path
        raise ValueError(
            "Expected a .tflite file, or the name of a pretrained model that ships one. Received: "
            f"{what}; `kdzoo export` makes such a file of a model."
        )
    return model_files.file_of(path)
