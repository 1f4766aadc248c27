"""`kdzoo benchmark`: how fast a `.tflite` file is on this machine."""

import pathlib
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

    Median and quartiles of one run, which is one image unless the file says otherwise.
    """
    path = _tflite_of(file)
    terminal.start_keras()
    from kdzoo.evaluation import file_bytes, latency

    size = file_bytes(path)
    with TrainingProgress(steps=1) as progress, terminal.quiet():
        progress.step(f"time {runs} runs of {file}")
        measured = latency(path, threads, runs=runs)
    typer.echo(f"{file}: {measured}; {size:,} bytes")


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
