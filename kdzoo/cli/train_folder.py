"""What `kdzoo train` makes of a folder of images by class: a comparison on it."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import typer

from kdzoo.cli import data as data_command
from kdzoo.cli import terminal, train_options

if TYPE_CHECKING:
    from kdzoo.data import Dataset
    from kdzoo.experiments import Experiment, Training

_STUDENT = "separable_050"  # Where the user names none.
_SHIFTED_BY = 12  # Images are shifted by up to this part of their side.
_OF_LOGITS = "teacher_test_accuracy"  # Of a teacher that ran elsewhere, in a student's row.
_OF_TEACHER = "teacher_"  # What options on the training of a teacher begin with.


def of_folder(
    name: str, given: Mapping[str, Any], image_size: str | None, crop: bool
) -> "tuple[Experiment, Dataset]":
    """Returns a comparison on a folder of images, and the images.

    Args:
        name: The folder.
        given: Option -> value, of those that were given.
        image_size: What was given as `--image-size`.
        crop: Whether images are cropped to the aspect ratio.

    Raises:
        ValueError: If options do not go together, or the size of the images is not known.
    """
    given = dict(given)
    _check(given)
    logits = given.get("teacher_logits")
    if logits is not None and not pathlib.Path(logits).is_file():
        raise FileNotFoundError(
            f"Expected the file of a teacher's logits. Received: {logits}, not a file."
        )
    if image_size is None and not train_options.is_file(given.get("teacher", "")):
        raise data_command.without_size(name)
    terminal.start_keras(training=True)
    teacher = _file_of_teacher(given)
    data = data_command.load(name, None, image_size, teacher, crop)
    if data.validation is None:
        raise ValueError(
            "Expected about ten images of each class, of which some are held out for validation. "
            f"Received: {name}, with {len(data.train):,} images to train on in all"
        )
    splits = {"train on": data.train, "validate with": data.validation, "test with": data.test}
    counts = [f"{len(split):,} to {what}" for what, split in splits.items() if split is not None]
    typer.echo(f"{data.classes} classes, images {data.input_shape}: {', '.join(counts)}", err=True)
    training = _training(data, given)
    student = given.pop("student", _STUDENT)
    logits = given.pop("teacher_logits", None)
    if logits is not None:
        typer.echo(
            "Note: images are not augmented, as recorded logits are those of the images as they "
            "are.",
            err=True,
        )
        own = train_options.of_logits(data.name, student, training, logits)
    elif "teacher" in given:
        own = train_options.of_data(data.name, data.name, student, training)
    else:
        own = train_options.alone(data.name, student, training)
    return train_options.changed(own, given), data


def note_on_teacher(results: Mapping[str, Any]) -> str:
    """Says what may be wrong with a teacher that knows less than the student alone."""
    given = [row[_OF_LOGITS] for row in results["rows"] if _OF_LOGITS in row]
    summary = results["summary"]
    given += [summary[name]["mean"] for name in (train_options.TEACHER,) if name in summary]
    if not given or given[0] >= summary["alone"]["mean"]:
        return ""
    return (
        f"Note: The teacher is less often right than the student alone, in "
        f"{terminal.percent(given[0])} of the test images. Are its classes in the order of the "
        "folders' names, and its pixels as --teacher-scale says?\n"
    )


def _check(given: Mapping[str, Any]) -> None:
    """Raises `ValueError` unless the options go together; before Keras starts."""
    of_teacher = sorted(option for option in given if option.startswith(_OF_TEACHER))
    of_training = [option for option in of_teacher if option != "teacher_logits"]
    if "teacher" in given and "teacher_logits" in given:
        raise ValueError(
            "Expected --teacher or --teacher-logits, what it gave elsewhere. Received: both"
        )
    if "teacher_logits" in given:
        for option in ("views", "augment_student"):
            if given.get(option):
                raise ValueError(
                    f"Expected no --{option.replace('_', '-')} beside --teacher-logits, which are "
                    "those of the images as they are. Received: both"
                )
    if of_training and "teacher" not in given:
        raise ValueError(
            f"Expected --teacher beside --{of_training[0].replace('_', '-')}. Received: the latter "
            "alone"
        )
    if "teacher" not in given and "teacher_logits" not in given:
        for option in ("temperature", "student_loss_weight", "views"):
            if option in given:
                raise ValueError(
                    "Expected --teacher or --teacher-logits beside "
                    f"--{option.replace('_', '-')}. Received: neither"
                )


def _file_of_teacher(given: Mapping[str, Any]) -> Any:
    """The teacher, if it is one of a file: the size of images may be its own."""
    path = given.get("teacher")
    if path is None or not train_options.is_file(path):
        return None
    from kdzoo.experiments.stages.teacher_file_stage import load

    with terminal.working(f"Loading {path}"):
        return load(path)


def _training(data: "Dataset", given: dict[str, Any]) -> "Training":
    """How a network is trained on a folder, where the user does not say."""
    augments = given.pop("augment_student", "teacher_logits" not in given)
    shift = max(1, min(data.input_shape[:2]) // _SHIFTED_BY)
    augmentation = {"shift": shift, "flip": True} if augments else None
    return dataclasses.replace(train_options.usual_training(), augmentation=augmentation)
