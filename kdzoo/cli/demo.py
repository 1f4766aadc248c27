"""`kdzoo demo`: what distilling is worth, in about a minute."""

import pathlib
import time
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kdzoo.cli import model_files, terminal
from kdzoo.cli.progress import TrainingProgress

if TYPE_CHECKING:
    from rich.table import Table

    from kdzoo.demo import Row

_ROLES = """\
Both students are the same small network and saw the same images equally often. Alone, it learned
from the labels; distilled, mostly from how likely the teacher, a larger network, takes each digit
to be.\
"""


def demo(
    directory: Annotated[pathlib.Path, typer.Option(help="Write everything here.")] = pathlib.Path(
        "demo"
    ),
) -> None:
    """Show in about a minute what distilling is worth.

    Trains a teacher and small students on handwritten digits, alone and distilled, over several
    splits of the images; converts them for a phone, and prints what was measured.
    """
    start = time.perf_counter()
    model_files.check_run_directory(directory)
    terminal.start_keras()
    import keras

    from kdzoo import demo as steps
    from kdzoo.experiments.distilled_vs_alone import verdict

    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            "Expected the TensorFlow backend, which converts the demo's models. Received: "
            f"KERAS_BACKEND={keras.backend.backend()}; `kdzoo train digits` trains on any."
        )
    with TrainingProgress(further=1, epochs=False) as progress:
        results = steps.train(directory, progress.stage, [progress.callback()])
        progress.step("convert, measure and time")
        rows = steps.measure(directory, results)
    terminal.show(_table(rows, results))
    typer.echo(_ROLES)
    typer.echo(verdict(results))
    typer.echo(_accounts(directory, results, steps))
    typer.echo(f"Took {time.perf_counter() - start:.0f} seconds. To do the same to your model:\n")
    typer.echo(steps.recipe_in_python(directory, results))


def _table(rows: "Sequence[Row]", results: Mapping[str, Any]) -> "Table":
    seeds = len(results["settings"]["seeds"])
    table = terminal.table(
        "model", ">test accuracy", ">parameters", ">.tflite bytes", ">ms per image"
    )
    for row in rows:
        table.add_row(
            row.name,
            terminal.mean_and_std({"mean": row.accuracy, "std": row.std}),
            f"{row.parameters:,}",
            f"{row.bytes:,}",
            f"{row.latency_ms:.4f}",
        )
    table.caption = (
        f"accuracy: mean ± standard deviation over {seeds} splits; time: median on 1 thread here"
    )
    return table


def _accounts(directory: pathlib.Path, results: Mapping[str, Any], steps: ModuleType) -> str:
    """Says where the files are, and draws the curves if matplotlib is there to do it."""
    files = f".keras and .tflite files of split {steps.shown_split(results)}, results.json"
    line = f"Wrote to {directory}/: {files}"
    try:
        return f"{line}, {steps.plot(directory, results).name}"
    except ImportError as error:
        return f"{line}; no plot: {error}"
