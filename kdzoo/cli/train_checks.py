"""What the options of `kdzoo train` must be, checked before Keras starts."""

import pathlib
from collections.abc import Mapping
from typing import Any

from kdzoo.cli import data as data_command
from kdzoo.cli import fit_to_data, model_files


def as_seeds(text: str) -> tuple[int, ...]:
    """Returns the seeds that were given as `--seeds`, or raises `ValueError`."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ValueError(
            f"Expected --seeds to be integers such as 0,1,2. Received: {text!r}"
        ) from None


def check_options(name: str, given: Mapping[str, Any], smoke: bool) -> None:
    """Raises `ValueError` for options that do not go together.

    Args:
        name: The recipe, the data set or the folder.
        given: Option -> value, of those that were given.
        smoke: Whether `--smoke` was given.
    """
    from kdzoo.cli import train_options

    if "/" in given.get("student", ""):
        raise ValueError(
            "Expected an architecture as --student, which starts from fresh weights. Received: "
            f"{given['student']!r}, which may be a pretrained model."
        )
    if "student" in given:
        from kdzoo.zoo import architecture

        architecture(given["student"])
    teacher = given.get("teacher", "")
    is_file = train_options.is_file(teacher)
    if is_file:
        model_files.file_of(pathlib.Path(teacher), takes_litert=False)
    elif "/" in teacher:
        from kdzoo.zoo.manifest import find

        find(teacher)
    elif teacher:
        from kdzoo.zoo import architecture

        architecture(teacher)
    fit_to_data.check_scale(given.get("teacher_scale"))
    if "teacher_scale" in given and not is_file:
        raise ValueError(
            "Expected the file of a model as --teacher beside --teacher-scale. Received: "
            f"--teacher {teacher or 'left out'}"
        )
    if smoke and (is_file or data_command.is_folder(name)):
        raise ValueError(
            "Expected a recipe or a data set beside --smoke, which runs on digits. Received: a "
            "folder, or a teacher from a file; `--epochs 1 --seeds 0` is quick"
        )
    if is_file or "/" in teacher:
        fixed = [option for option in given if option.startswith("teacher_")]
        fixed = [option for option in fixed if option not in ("teacher_scale", "teacher_logits")]
        if fixed:
            raise ValueError(
                f"Expected no --{fixed[0].replace('_', '-')} for a pretrained teacher, which "
                f"teaches as it is. Received: --teacher {given['teacher']} and that."
            )
