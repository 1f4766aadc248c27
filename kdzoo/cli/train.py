"""`kdzoo train`: a recipe, or a comparison of the user's own, that survives a kill."""

import contextlib
import os
import pathlib
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kdzoo.cli import (
    completion,
    model_files,
    result_tables,
    terminal,
    train_checks,
    train_folder,
)
from kdzoo.cli import data as data_command
from kdzoo.cli.progress import TrainingProgress
from kdzoo.utils import check_directory, unknown_name
from kdzoo.utils.types import PathLike

if TYPE_CHECKING:
    from kdzoo.data import Dataset
    from kdzoo.experiments import Experiment

_OF_RECIPE = "the recipe's"


def train(
    name: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE|DATA|FOLDER",
            help=f"A recipe; or a data set, or {data_command.FOLDER}, for your own comparison.",
        ),
    ],
    teacher: Annotated[
        str | None,
        typer.Option(
            help="Let this teach: an architecture, a pretrained model, the file of a Keras model, "
            "or a directory of save_pretrained.",
            show_default=_OF_RECIPE,
        ),
    ] = None,
    student: Annotated[
        str | None,
        typer.Option(
            help="Train students of this architecture.",
            autocompletion=completion.of(completion.models),
            show_default=f"{_OF_RECIPE}, else separable_050 on a folder",
        ),
    ] = None,
    image_size: data_command.ImageSize = None,
    crop: data_command.Crop = False,
    teacher_scale: Annotated[
        str | None,
        typer.Option(
            help="Give a teacher from a file pixels in 0..1, 0..255, -1..1, or as torch or caffe "
            "(modes of keras.applications).",
            show_default="found in its first layers",
        ),
    ] = None,
    teacher_logits: Annotated[
        pathlib.Path | None,
        typer.Option(
            help="Learn from these in place of a teacher, on a folder: an .npz file of the arrays "
            "paths, relative to the folder, and logits.",
            show_default="none",
        ),
    ] = None,
    teacher_epochs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Train the teacher for so many epochs.",
            show_default=f"{_OF_RECIPE}, else 20",
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Train each student for so many epochs.",
            show_default=f"{_OF_RECIPE}, else 20",
        ),
    ] = None,
    seeds: Annotated[
        str | None,
        typer.Option(
            help="Train two students for each of these seeds, e.g. 0,1,2.",
            show_default=f"{_OF_RECIPE}, else 0,1,2",
        ),
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option(
            help="Soften the teacher's outputs by this temperature.",
            show_default=f"{_OF_RECIPE}, else 4",
        ),
    ] = None,
    student_loss_weight: Annotated[
        float | None,
        typer.Option(
            help="Give the loss on labels this weight, 0 to 1.",
            show_default=f"{_OF_RECIPE}, else 0.1",
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            min=1, help="Train on so many images a step.", show_default=f"{_OF_RECIPE}, else 128"
        ),
    ] = None,
    teacher_learning_rate: Annotated[
        float | None,
        typer.Option(
            help="Begin to train the teacher at this learning rate.",
            show_default=f"{_OF_RECIPE}, else 0.002",
        ),
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            help="Begin to train the students at this learning rate.",
            show_default=f"{_OF_RECIPE}, else 0.003",
        ),
    ] = None,
    teacher_optimizer: Annotated[
        str | None,
        typer.Option(
            help="Train the teacher with this, as --optimizer.",
            show_default=f"{_OF_RECIPE}, else adamw",
        ),
    ] = None,
    optimizer: Annotated[
        str | None,
        typer.Option(
            help="Train the students with adamw, or with sgd, which has momentum and wants a rate "
            "of about 0.1.",
            show_default=f"{_OF_RECIPE}, else adamw",
        ),
    ] = None,
    weight_decay: Annotated[
        float | None,
        typer.Option(
            min=0, help="Decay weights by this, decoupled.", show_default=f"{_OF_RECIPE}, else 0.02"
        ),
    ] = None,
    views: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Record the teacher's outputs for so many augmented views, which students see.",
            show_default=f"{_OF_RECIPE}, else none",
        ),
    ] = None,
    augment_student: Annotated[
        bool | None,
        typer.Option(help="Show the students augmented images.", show_default=_OF_RECIPE),
    ] = None,
    directory: Annotated[
        pathlib.Path | None,
        typer.Option(help="Write models and results here.", show_default="runs/NAME"),
    ] = None,
    data_dir: data_command.DataDir = None,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="See in seconds that it runs: little, and on digits.")
    ] = False,
) -> None:
    """Train a teacher, students alone and students distilled.

    Both students have the same budget and, for each seed, the same start. Every epoch is
    kept: killed at any moment and started again, the same command goes on from the last finished
    epoch, and ends with the same result.
    """
    given = {key: value for key, value in locals().items() if value is not None}
    for key in ("name", "directory", "data_dir", "smoke", "image_size", "crop"):
        given.pop(key, None)
    if seeds is not None:
        given["seeds"] = train_checks.as_seeds(seeds)
    train_checks.check_options(name, given, smoke)
    data_command.check(name, image_size, crop, data_dir)
    if data_command.is_folder(name):
        folder, name = name, os.path.basename(os.path.abspath(os.path.expanduser(name)))
        # The run of a recipe or a data set of that name has the usual place.
        usual = pathlib.Path("runs") / (f"{name}-folder" if data_command.is_known(name) else name)
        directory = model_files.check_run_directory(directory or usual)
        recipe, dataset = train_folder.of_folder(folder, given, image_size, crop)
    elif teacher_logits is not None:
        raise ValueError(
            f"Expected {data_command.FOLDER} beside --teacher-logits. Received: {name!r}, "
            f"{data_command.what_else(name)}"
        )
    else:
        data_command.note_of_folder(name)
        recipe, dataset = _experiment(name, given), None
    recipe = recipe.smoke() if smoke else recipe
    directory = directory or pathlib.Path("runs") / (pathlib.Path(name).name + "-smoke" * smoke)
    results = run(recipe, directory, data_dir, dataset)

    from kdzoo.experiments.distilled_vs_alone import verdict

    compresses = any(stage["type"] == "Compress" for stage in results["settings"]["stages"])
    table = result_tables.of_compressions if compresses else result_tables.of_comparison
    terminal.show(table(results))
    said = "" if compresses else verdict(results)
    said = "A smoke run: it says that everything runs." if smoke else said
    if dataset is not None:
        said = f"{train_folder.note_on_teacher(results)}{said}"
    typer.echo(f"{said}\n\nModels and results: {directory}".lstrip())
    _draw(results, directory / "errors.png", name)


def run(
    recipe: "Experiment",
    directory: PathLike,
    data_dir: PathLike | None = None,
    dataset: "Dataset | None" = None,
) -> dict[str, Any]:
    """Runs a recipe with its progress on standard error; returns its results."""
    directory = model_files.check_run_directory(check_directory(directory))
    terminal.start_keras(training=True)
    with TrainingProgress() as progress:
        return recipe.run(
            directory,
            data_dir,
            0,
            report=progress.stage,
            callbacks=[progress.callback()],
            dataset=dataset,
        )


def _draw(results: dict[str, Any], path: pathlib.Path, name: str) -> None:
    """Draws the errors of all stages, and accuracy by cost, where matplotlib is installed."""
    from kdzoo.evaluation import plots

    # Without the extra `report` there is no picture, and nothing else is missing.
    with contextlib.suppress(ImportError):
        plots.errors_by_variant(results, path, name)
        typer.echo(f"Plot: {path}")
        if any(map(plots.has_costs, results["rows"])):
            costs = path.with_name("costs.png")
            plots.accuracy_by_cost(results, costs, name)
            typer.echo(f"Plot: {costs}")


def _experiment(name: str, given: dict[str, Any]) -> "Experiment":
    """The recipe of this name with what was given instead, or one on a data set."""
    from kdzoo.cli import train_options
    from kdzoo.data.catalog import DATASETS
    from kdzoo.recipes import RECIPES

    if name in RECIPES:
        return train_options.changed(RECIPES[name], given)
    if {"teacher", "student"} <= given.keys():
        own = train_options.of_data(name, pathlib.Path(name).name or "own", given["student"])
        return train_options.changed(own, given)
    if name not in DATASETS and not pathlib.Path(name).exists():
        raise unknown_name("recipe or data set", name, {*RECIPES, *DATASETS})
    names = [recipe.name for recipe in RECIPES.values() if recipe.data == name]
    recipes = f"the name of a recipe ({', '.join(names)}), or a data set with " if names else ""
    raise ValueError(
        f"Expected {recipes}--teacher and --student. Received: {name!r} alone; `kdzoo list models` "
        "shows what they may be."
    )
