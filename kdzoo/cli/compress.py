"""`kdzoo compress`: a trained model pruned, clustered and quantized, as a verified .tflite file."""

import pathlib
import tempfile
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from kdzoo.cli import compress_directory, fit_to_data, model_files, result_tables, terminal
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
    output: Annotated[pathlib.Path, typer.Argument(help="The .tflite file to write.")],
    data: Annotated[
        str,
        typer.Argument(help=f"A data set, a directory of an export, or {data_command.FOLDER}."),
    ],
    prune: Annotated[
        str | None,
        typer.Option(
            help="Set this fraction of the weights to zero, e.g. 0.8; 2:4 sets two in every four.",
            show_default="none",
        ),
    ] = None,
    cluster: Annotated[
        int | None,
        typer.Option(help="Leave so many different values in each kernel.", show_default="all"),
    ] = None,
    quantize: Annotated[
        str,
        typer.Option(
            help="Quantize to float16, dynamic or int8 after training, or train for int8 with "
            "qat; none is float32."
        ),
    ] = "none",
    weight_bits: Annotated[
        int | None,
        typer.Option(help="Train for kernels of so many bits with qat, 8 or 4.", show_default="8"),
    ] = None,
    teacher: Annotated[
        pathlib.Path | None,
        typer.Option(
            help="Let this model teach in each training: a file, a directory or a name.",
            show_default="labels alone",
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
    """Prune, cluster, quantize and convert a trained model.

    In this order; each step keeps what the one before it reached. Pruning, clustering and qat
    train the model again for some epochs, with a teacher if one is given; killed and started
    again, the same command goes on from the last finished epoch.
    """
    given = {
        name: value for name, value in locals().items() if name in _SETTINGS and value is not None
    }
    model_files.check_output(output)
    fit_to_data.check_scale(scale)
    fit_to_data.check_trainable(scale, quantize)
    compression = _compression(given, prune, quantize, teacher)
    paths = [path for path in (model, teacher) if path is not None]
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
    compression.check()
    trained = model_files.load_model(model, takes_litert=False)
    loaded_teacher = model_files.load_model(teacher, takes_litert=False) if teacher else None
    loaded = data_command.load(data, data_dir, image_size, trained, crop)
    if loaded.test is None:
        raise ValueError(f"Expected data with a test split. Received: {data!r} without one.")
    fit_to_data.check_fit(model, trained, loaded, scale)
    if teacher is not None and loaded_teacher is not None:
        fit_to_data.check_fit(teacher, loaded_teacher, loaded, remedy=fit_to_data.OF_TEACHER)
    trained = fit_to_data.fed(fit_to_data.with_logits(model, trained), scale)
    if teacher is not None:
        loaded_teacher = fit_to_data.teaching(teacher, loaded_teacher, trained, loaded)
    with one_process(work):
        compress_directory.mark(work, identity)
        result = run(trained, compression, loaded, work, output, loaded_teacher, seed)
        compress_directory.mark(work, identity, is_done=True)
    terminal.show(result_tables.before_and_after(result, f"{model} → {output}"))
    typer.echo(f"Wrote {output} and {work / 'model.keras'}.")


_TIMED_RUNS = 50  # Enough for a median.
_OF_TRAINING = ("epochs", "learning_rate", "batch_size", "augment")
_OF_TEACHER = ("temperature", "student_loss_weight")
_SETTINGS = ("cluster", "sparse", "weight_bits", *_OF_TEACHER, *_OF_TRAINING)


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
        (measured before, measured after), see `compress_and_retrain.measure`, and `"median_ms"` of
        one run of the file.
    """
    from kdzoo.experiments import Compression, compress_and_retrain
    from kdzoo.graph.model_saving import save_model

    steps = len(compression.steps) + 3
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
        )
        progress.step(f"convert to {output}")
        save_model(compressed, work / "model.keras")
        with tempfile.TemporaryDirectory() as folder:
            with terminal.quiet():
                plain = pathlib.Path(folder) / "before.tflite"
                compress_and_retrain.export(model, plain, Compression(), data)
                compress_and_retrain.export(compressed, output, compression, data)
            files = ((plain, model), (output, compressed))
            result = _measured(files, data, progress)
    for message in dict.fromkeys(str(warning.message) for warning in said if _is_ours(warning)):
        typer.echo(f"Note: {message}", err=True)
    return result


def _measured(
    files: "Sequence[tuple[pathlib.Path, keras.Model]]",
    data: "Dataset",
    progress: TrainingProgress,
) -> tuple[dict[str, float], dict[str, float]]:
    """What two files and their models are worth, and how fast the files are."""
    from kdzoo.evaluation import latency
    from kdzoo.experiments import compress_and_retrain

    progress.step("measure accuracy before and after")
    with terminal.quiet():
        before, after = (compress_and_retrain.measure(*file, data) for file in files)
    progress.step(f"time {_TIMED_RUNS} runs before and after")
    with terminal.quiet():
        times = [latency(path, runs=_TIMED_RUNS).median_ms for path, _ in files]
    return {**before, "median_ms": times[0]}, {**after, "median_ms": times[1]}


def _is_ours(warning: warnings.WarningMessage) -> bool:
    package = pathlib.Path(__file__).parents[1]
    is_within = package in pathlib.Path(warning.filename).parents
    return issubclass(warning.category, UserWarning) and is_within


def _compression(
    given: dict[str, Any], prune: str | None, quantize: str, teacher: pathlib.Path | None
) -> "Compression":
    """The `Compression` that the options ask for, checked before Keras starts."""
    from kdzoo.experiments import Compression, retraining
    from kdzoo.utils import unknown_name

    forms = ("none", "float16", "dynamic", "int8", "qat")
    if quantize not in forms:
        raise unknown_name("quantization", quantize, forms)
    training = {name: given.pop(name) for name in _OF_TRAINING if name in given}
    options = [f"--{name.replace('_', '-')}" for name in training]
    if training.pop("augment", None) is False:
        training["augmentation"] = None
    compression = Compression(
        prune=_fraction(prune),
        quantize=cast(Any, None if quantize == "none" else quantize),
        training=retraining(**training),
        **given,
    )
    if not compression.steps and compression.quantize is None:
        raise ValueError(
            "Expected at least one of --prune, --cluster and --quantize. Received: none of them."
        )
    options += ["--teacher"] * (teacher is not None)
    if options and not compression.steps:
        raise ValueError(
            f"Expected --prune, --cluster or --quantize qat beside {options[-1]}, as nothing else "
            f"is trained. Received: --quantize {quantize}"
        )
    for name in _OF_TEACHER:
        if name in given and teacher is None:
            raise ValueError(
                f"Expected --teacher beside --{name.replace('_', '-')}. Received: the latter alone"
            )
    return compression


def _fraction(prune: str | None) -> float | str | None:
    if prune in (None, "2:4"):
        return prune
    try:
        return float(prune)
    except ValueError:
        raise ValueError(
            f"Expected --prune to be a fraction such as 0.8, or 2:4. Received: {prune!r}"
        ) from None
