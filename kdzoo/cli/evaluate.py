"""`kdzoo evaluate`: how good and how large a model is."""

import pathlib
from typing import Annotated

import typer

from kdzoo.cli import data as data_command
from kdzoo.cli import model_files, terminal
from kdzoo.utils import unknown_name

_SPLITS = ("train", "validation", "test")


def evaluate(
    model: Annotated[
        pathlib.Path, typer.Argument(help=f"A .keras, .h5 or .tflite file, or {model_files.NAME}.")
    ],
    data: Annotated[
        str, typer.Argument(help=f"Data set, a directory of an export, or {data_command.FOLDER}.")
    ],
    teacher: Annotated[
        pathlib.Path | None, typer.Option(help="Report the agreement with this model, too.")
    ] = None,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    data_dir: data_command.DataDir = None,
    image_size: data_command.ImageSize = None,
    crop: data_command.Crop = False,
) -> None:
    """Measure how good and how large a model is.

    Accuracy, agreement with a teacher, parameters, multiply-accumulates of one image, bytes on
    disk.
    """
    if split not in _SPLITS:
        raise unknown_name("split", split, _SPLITS)
    measured = model_files.load_model(model)
    loaded_teacher = model_files.load_model(teacher) if teacher else None
    from kdzoo import evaluation
    from kdzoo.compression.tfmot.unwrapping import plain_copy
    from kdzoo.evaluation.labelled_batches import predictor
    from kdzoo.graph.outputs import is_one_column

    loaded = data_command.load(data, data_dir, image_size, measured, crop)
    part = getattr(loaded, split)
    if part is None:
        raise ValueError(f"Expected data with a {split} split. Received: {data!r} without one.")
    model_files.check_fit(model, measured, loaded)
    model_files.check_fit(teacher, loaded_teacher, loaded)
    images, labels = part.arrays()
    table = terminal.table("measure", ">value", title=f"{model} on {data} ({split})")
    with terminal.working("Measuring"):
        accuracy = evaluation.accuracy(measured, images, labels)
        table.add_row("accuracy", terminal.percent(accuracy, 2))
        if loaded_teacher is not None:
            # One column whose accuracy could be measured is a yes or no.
            is_one = is_one_column(predictor(measured)(images[:1]).shape)
            agreement = evaluation.agreement(
                loaded_teacher, measured, images, output_type="binary" if is_one else None
            )
            table.add_row("agreement with the teacher", terminal.percent(agreement, 2))
        table.add_row("images", f"{len(part):,}")
        if hasattr(measured, "count_params"):
            members = getattr(measured, "members", [measured])
            parts = [plain_copy(member) or member for member in members]
            for name, count in (
                ("parameters", evaluation.count_parameters),
                ("MACs", evaluation.count_macs),
            ):
                table.add_row(name, f"{sum(count(part) for part in parts):,}")
        table.add_row("bytes", f"{model_files.file_of(model).stat().st_size:,}")
    terminal.show(table)
