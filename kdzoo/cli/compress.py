"""`kdzoo compress`: a trained model made small, as a verified .tflite, a .keras or a .kdz file."""

import pathlib
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from kdzoo.cli import (
    completion,
    compress_directory,
    compress_options,
    compressed_output,
    fit_to_data,
    model_files,
    result_tables,
    terminal,
)
from kdzoo.cli import data as data_command
from kdzoo.cli.progress import TrainingProgress
from kdzoo.utils import one_process

if TYPE_CHECKING:
    import keras

    from kdzoo.data import Dataset
    from kdzoo.experiments import Compression


def compress(
    model: Annotated[
        pathlib.Path, typer.Argument(help=f"The file of a Keras model, {model_files.NAME}.")
    ],
    output: Annotated[
        pathlib.Path,
        typer.Argument(help="The file to write: .tflite for a device, .keras, or .kdz."),
    ],
    data: Annotated[
        str,
        typer.Argument(help=f"A data set, a directory of an export, or {data_command.FOLDER}."),
    ],
    filters: Annotated[
        float | None,
        typer.Option(
            help="Leave out filters until this fraction of the MACs is left, e.g. 0.5.",
            show_default="all",
        ),
    ] = None,
    filters_target: Annotated[
        str | None,
        typer.Option(
            help="Let --filters be a fraction of the macs, parameters, latency (in LiteRT, "
            "measured on this machine) or channels.",
            show_default="macs",
        ),
    ] = None,
    filters_importance: Annotated[
        str | None,
        typer.Option(
            help="Leave out the filters that count least by this criterion: l1, l2, group_l2, "
            "batch_norm, geometric_median, random, or apoz or taylor, which look at training "
            "images.",
            show_default="group_l2",
            autocompletion=completion.of(completion.criteria),
        ),
    ] = None,
    filters_scope: Annotated[
        str | None,
        typer.Option(
            help="Leave out the same fraction of every group of filters (local), or those that "
            "count least in the whole network (global).",
            show_default="global",
            autocompletion=completion.of(completion.scopes),
        ),
    ] = None,
    low_rank: Annotated[
        str | None,
        typer.Option(
            help="Leave this fraction of the parameters, in chains of layers of a low rank; "
            "conv=8,fc1=20 gives layers ranks of their own and leaves others as they are.",
            show_default="none",
        ),
    ] = None,
    separable: Annotated[
        bool, typer.Option("--separable", help="Make convolutions depthwise-separable.")
    ] = False,
    prune: Annotated[
        str | None,
        typer.Option(
            help="Set this fraction of the weights to zero, e.g. 0.8; 2:4 sets two in every four; "
            "conv=0.5,logits=0.9 gives layers their own, with --scheme deep-compression.",
            show_default="none",
        ),
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(
            help="Leave so many different values in each kernel, e.g. 16; conv=64,logits=16 gives "
            "layers their own, with --scheme deep-compression.",
            show_default="all",
        ),
    ] = None,
    scheme: Annotated[
        str | None,
        typer.Option(
            help="Prune in rounds: deep-compression, with --cluster shared values, or "
            "lottery-ticket, which goes back to the file's weights after each; `kdzoo create` "
            "writes initial ones.",
            show_default="none",
        ),
    ] = None,
    rounds: Annotated[
        int | None,
        typer.Option(
            help="Let filters, and zeros of a --scheme, go in so many rounds, each trained.",
            show_default="1, by a scheme 3",
        ),
    ] = None,
    binary: Annotated[
        str | None,
        typer.Option(
            help="Make weights binary: deterministic, stochastic or xnor.", show_default="none"
        ),
    ] = None,
    quantize: Annotated[
        str,
        typer.Option(
            help="Quantize to float16, dynamic or int8 after training, or train for int8 with "
            "qat; none is float32."
        ),
    ] = "none",
    order: Annotated[
        str | None,
        typer.Option(
            help="Change layers in this order.", show_default="filters,low-rank,separable"
        ),
    ] = None,
    weight_bits: Annotated[
        int | None,
        typer.Option(help="Train for kernels of so many bits with qat, 8 or 4.", show_default="8"),
    ] = None,
    teacher: Annotated[
        pathlib.Path | None,
        typer.Option(
            help="Let this model teach in each training: a file, a directory or a name; none "
            "trains on the labels alone.",
            show_default="the model itself with --filters, else none",
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Train for so many epochs after each step that needs it.",
            show_default="3",
        ),
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(help="Begin each training at this learning rate.", show_default="0.001"),
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option(help="Soften a teacher's outputs by this temperature.", show_default="4"),
    ] = None,
    student_loss_weight: Annotated[
        float | None,
        typer.Option(
            help="Give the loss on labels this weight beside a teacher, 0 to 1.",
            show_default="0.1",
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(min=1, help="Train on so many images a step.", show_default="128"),
    ] = None,
    augment: Annotated[
        bool | None, typer.Option(help="Augment the images.", show_default="augment")
    ] = None,
    sparse: Annotated[
        bool, typer.Option("--sparse", help="Leave zeros out of a float32 or float16 file.")
    ] = False,
    seed: Annotated[
        int, typer.Option(help="Draw the order and the augmentation from this seed.")
    ] = 0,
    directory: Annotated[
        pathlib.Path | None,
        typer.Option(
            help="Keep checkpoints and the compressed Keras model here.",
            show_default="runs/compress-MODEL, and a hash where that has another model",
        ),
    ] = None,
    data_dir: data_command.DataDir = None,
    image_size: data_command.ImageSize = None,
    crop: data_command.Crop = False,
    scale: fit_to_data.Scale = None,
) -> None:
    """Make a trained model small, and convert it.

    First layers change (--filters, --low-rank, --separable), then weights (--prune and --cluster,
    perhaps by a --scheme, or --binary), then --quantize; each step keeps what the one before it
    reached. All but quantization after training train the model again for some epochs, with a
    teacher if there is one: with --filters the model that is given, unless --teacher says another,
    or none. Killed and started again, the same command goes on from the last finished epoch.
    """
    given = {
        name: value
        for name, value in locals().items()
        if name in compress_options.SETTINGS and value is not None
    }
    compressed_output.check_path(output)
    fit_to_data.check_scale(scale)
    fit_to_data.check_trainable(scale)
    compression = compress_options.compression_of(given, prune, quantize, teacher, order)
    compressed_output.check_settings(output, compression)
    is_own_teacher = compress_options.is_own_teacher(teacher, compression)
    teacher = None if teacher == compress_options.LABELS_ALONE else teacher
    paths = [path for path in (model, model if is_own_teacher else teacher) if path is not None]
    files = [model_files.file_of(path, takes_litert=False) for path in paths]
    data_command.check(data, image_size, crop, data_dir)
    # Another model, or another way to compress it, has a directory of its own.
    identity = compress_directory.identity_of(
        files, compression, data, image_size, crop, seed, scale
    )
    work = compress_directory.work_directory(
        directory, model_files.stem(model), identity, compression
    )
    terminal.start_keras(training=True)
    from kdzoo.experiments import compress_by_scheme

    compression.check()
    trained = model_files.load_model(model, takes_litert=False)
    loaded_teacher = model_files.load_model(teacher, takes_litert=False) if teacher else None
    fit_to_data.check_one_cost(model, trained)
    if teacher:
        fit_to_data.check_one_cost(teacher, loaded_teacher)
    loaded = data_command.load(data, data_dir, image_size, trained, crop)
    if loaded.test is None:
        raise ValueError(f"Expected data with a test split. Received: {data!r} without one.")
    fit_to_data.check_fit(model, trained, loaded, scale)
    if teacher is not None and loaded_teacher is not None:
        fit_to_data.check_fit(teacher, loaded_teacher, loaded, remedy=fit_to_data.OF_TEACHER)
    trained = fit_to_data.fed(fit_to_data.with_logits(model, trained), scale)
    if is_own_teacher:
        loaded_teacher = trained
    elif teacher is not None:
        loaded_teacher = fit_to_data.teaching(teacher, loaded_teacher, trained, loaded)
    compressed_output.check_backend(output, trained)
    compress_by_scheme.check_layers(trained, compression)
    with one_process(work):
        compress_directory.mark(work, identity)
        result = run(trained, compression, loaded, work, output, loaded_teacher, seed)
        compress_directory.mark(work, identity, is_done=True)
    terminal.show(result_tables.before_and_after(result, f"{model} → {output}"))
    typer.echo(f"Wrote {output} and {work / 'model.keras'}.")


_TIMED_RUNS = 50  # Enough for a median.


def run(
    model: "keras.Model",
    compression: "Compression",
    data: "Dataset",
    work: pathlib.Path,
    output: pathlib.Path,
    teacher: "keras.Model | None" = None,
    seed: int = 0,
) -> tuple[dict[str, float], dict[str, float]]:
    """Compresses a model with its progress on standard error.

    Returns:
        (measured before, measured after), see `compressed_output.measured`, and of a `.tflite` file
        `"median_ms"` of one run.
    """
    from kdzoo.experiments import Compression, compress_and_retrain
    from kdzoo.graph.model_saving import save_model

    left: dict[str, Mapping[str, str]] = {}
    steps = len(compression.steps) + (3 if output.suffix == ".tflite" else 2)
    with warnings.catch_warnings(record=True) as said, TrainingProgress(steps) as progress:
        warnings.simplefilter("always", UserWarning)
        compressed, _ = compress_and_retrain.compress(
            model,
            compression,
            data,
            work,
            teacher=teacher,
            seed=seed,
            verbose=0,
            report=progress.stage,
            callbacks=[progress.callback()],
            note_left=left.__setitem__,
        )
        progress.step(f"write {output}")
        save_model(compressed, work / "model.keras")
        with tempfile.TemporaryDirectory() as folder:
            with terminal.quiet():
                plain = pathlib.Path(folder) / f"before{output.suffix}"
                compressed_output.write(model, plain, Compression(), data)
                compressed_output.write(compressed, output, compression, data)
            files = ((plain, model), (output, compressed))
            result = _measured(files, data, progress)
    notes = [str(warning.message) for warning in said if _is_ours(warning)]
    for step, layers in left.items():
        notes += compressed_output.lines_of_left(step, layers)
    for message in dict.fromkeys(notes):
        typer.echo(f"Note: {message}", err=True)
    return result


def _measured(
    files: "Sequence[tuple[pathlib.Path, keras.Model]]",
    data: "Dataset",
    progress: TrainingProgress,
) -> tuple[dict[str, float], dict[str, float]]:
    """What two files and their models are worth, and how fast the files are."""
    from kdzoo.evaluation import latency

    progress.step("measure accuracy before and after")
    with terminal.quiet():
        before, after = (compressed_output.measured(*file, data) for file in files)
    if files[0][0].suffix != ".tflite":
        return before, after
    progress.step(f"time {_TIMED_RUNS} runs before and after")
    with terminal.quiet():
        times = [latency(path, runs=_TIMED_RUNS).median_ms for path, _ in files]
    return {**before, "median_ms": times[0]}, {**after, "median_ms": times[1]}


def _is_ours(warning: warnings.WarningMessage) -> bool:
    package = pathlib.Path(__file__).parents[1]
    is_within = package in pathlib.Path(warning.filename).parents
    return issubclass(warning.category, UserWarning) and is_within
