"""`kdzoo compress`: a trained model pruned, clustered and quantized, as a verified .tflite file."""

import pathlib
import tempfile
import warnings
from typing import Annotated

import typer

from kdzoo.cli import data as data_command
from kdzoo.cli import files, terminal
from kdzoo.cli.progress import TrainingProgress
from kdzoo.utils import one_process


def compress(
    model: Annotated[pathlib.Path, typer.Argument(help=f"A .keras file, or {files.NAME}.")],
    output: Annotated[pathlib.Path, typer.Argument(help="The .tflite file to write.")],
    data: Annotated[str, typer.Argument(help="Data set, or a directory of an export.")],
    prune: Annotated[
        str | None, typer.Option(help="Share of weights to set to zero, e.g. 0.8, or 2:4.")
    ] = None,
    cluster: Annotated[int | None, typer.Option(help="Number of values in each kernel.")] = None,
    quantize: Annotated[
        str, typer.Option(help="none, float16, dynamic, int8 (after training), or qat (int8).")
    ] = "none",
    teacher: Annotated[
        pathlib.Path | None, typer.Option(help="A model that teaches meanwhile, likewise.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Of each training; 3.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Initial; 0.001.")] = None,
    temperature: Annotated[float | None, typer.Option(help="Of the soft targets; 4.")] = None,
    student_loss_weight: Annotated[
        float | None, typer.Option(help="Share of the loss on labels beside a teacher; 0.1.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Images a step; 128.")] = None,
    augment: Annotated[
        bool | None, typer.Option(help="Whether images are augmented; they are by default.")
    ] = None,
    sparse: Annotated[
        bool, typer.Option("--sparse", help="Leave zeros out of a float32 or float16 file.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of order and augmentation.")] = 0,
    directory: Annotated[
        pathlib.Path | None,
        typer.Option(help="Where checkpoints go; runs/compress-MODEL if left out."),
    ] = None,
    data_dir: data_command.DataDir = None,
):
    """Prune, cluster, quantize and convert a trained model.

    In this order; each step keeps what the one before it reached. Pruning, clustering and qat
    train the model again for some epochs, with a teacher if one is given; killed and started
    again, the same command goes on from the last finished epoch.
    """
    given = {
        name: value for name, value in locals().items() if name in _SETTINGS and value is not None
    }
    compression = _compression(given, prune, quantize, teacher)
    files.check_output(output)
    for path in (model, teacher):
        if path is not None:
            files.file_of(path, (".keras",))
    terminal.start_keras(training=True)
    compression.check()
    trained = files.load_model(model, (".keras",))
    asked = files.load_model(teacher, (".keras",)) if teacher else None
    loaded = data_command.load(data, data_dir)
    if loaded.test is None:
        raise ValueError(f"Expected data with a test split. Received: {data!r} without one.")
    for path, each in ((model, trained), (teacher, asked)):
        files.check_fit(path, each, loaded)
    home = directory or pathlib.Path("runs") / f"compress-{files.stem(model)}"
    with one_process(home):
        result = run(trained, compression, loaded, home, output, asked, seed)
    terminal.show(_table(result, f"{model} → {output}"))
    typer.echo(f"Wrote {output} and {home / 'model.keras'}.")


_SETTINGS = (
    "cluster",
    "epochs",
    "learning_rate",
    "temperature",
    "student_loss_weight",
    "batch_size",
    "augment",
    "sparse",
)


def run(model, compression, data, home, output, teacher=None, seed=0):
    """Compresses a model with its progress on standard error.

    Returns:
        (what was measured before, what was measured after), see `recipes.compress.measure_file`.
    """
    from kdzoo.graph.saving import save_model
    from kdzoo.recipes import Compression
    from kdzoo.recipes import compress as recipes

    with warnings.catch_warnings(record=True) as said, TrainingProgress() as progress:
        warnings.simplefilter("always", UserWarning)
        compressed, _ = recipes.compress(
            model,
            compression,
            data,
            home,
            teacher=teacher,
            seed=seed,
            verbose=0,
            report=progress.stage,
            callbacks=[progress.callback()],
        )
    for message in dict.fromkeys(str(each.message) for each in said if _is_ours(each)):
        typer.echo(f"Note: {message}", err=True)
    with terminal.working("Converting and measuring"), terminal.quiet():
        save_model(compressed, home / "model.keras")
        report = recipes.export(compressed, output, compression, data)
        with tempfile.TemporaryDirectory() as folder:
            plain = Compression()
            before = recipes.export(model, pathlib.Path(folder) / "before.tflite", plain, data)
            return (
                recipes.measure_file(before.path, model, data),
                recipes.measure_file(report.path, compressed, data),
            )


def _is_ours(warning):
    package = pathlib.Path(__file__).parents[1]
    is_within = package in pathlib.Path(warning.filename).parents
    return issubclass(warning.category, UserWarning) and is_within


def _compression(given, prune, quantize, teacher):
    """The `Compression` that the options ask for, checked before Keras starts."""
    from kdzoo.recipes import Compression
    from kdzoo.utils import unknown_name

    kinds = ("none", "float16", "dynamic", "int8", "qat")
    if quantize not in kinds:
        raise unknown_name("quantization", quantize, kinds)
    compression = Compression(
        prune=_share(prune),
        quantize=None if quantize == "none" else quantize,
        taught=teacher is not None,
        **given,
    )
    if not compression.steps and compression.quantize is None:
        raise ValueError(
            "Expected at least one of --prune, --cluster and --quantize. Received: none of them."
        )
    if compression.taught and not compression.steps:
        raise ValueError(
            "Expected --prune, --cluster or --quantize qat beside --teacher, as nothing else is "
            f"trained. Received: --quantize {quantize}"
        )
    return compression


def _share(prune):
    if prune in (None, "2:4"):
        return prune
    try:
        return float(prune)
    except ValueError:
        raise ValueError(
            f"Expected --prune to be a share such as 0.8, or 2:4. Received: {prune!r}"
        ) from None


def _table(result, title):
    table = terminal.table("measure", ">before", ">after", title=title)
    before, after = result
    for name, key, show in (
        ("accuracy of the file", "test_accuracy", lambda share: terminal.percent(share, 2)),
        ("accuracy in Keras", "keras_accuracy", lambda share: terminal.percent(share, 2)),
        ("file and Keras agree", "agreement", lambda share: terminal.percent(share, 2)),
        ("bytes", "bytes", "{:,}".format),
        ("bytes after gzip", "gzipped_bytes", "{:,}".format),
    ):
        table.add_row(name, show(before[key]), show(after[key]))
    return table


def table_of_recipe(results):
    """Returns the table of what a `CompressionComparison` measured."""
    table = terminal.table(
        "file", ">test accuracy", ">as Keras", ">bytes", ">after gzip", ">zeros", ">seconds"
    )
    for kind, summary in results["summary"].items():
        rows = [row for row in results["rows"] if row["kind"] == kind]

        def mean(name, rows=rows):
            return sum(row[name] for row in rows) / len(rows)

        table.add_row(
            kind,
            terminal.mean_and_std(summary) if len(rows) > 1 else terminal.percent(summary["mean"]),
            terminal.percent(mean("agreement")),
            f"{summary['bytes']:,}",
            f"{summary['gzipped_bytes']:,}",
            terminal.percent(mean("sparsity")),
            f"{mean('seconds'):.1f}",
        )
    return table
