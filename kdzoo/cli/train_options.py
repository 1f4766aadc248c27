"""What the options of `kdzoo train` change of a recipe, whatever its stages are."""

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

from kdzoo.experiments import Compress, Distill, Experiment, Pretrained, Stage, Train, Training
from kdzoo.experiments.stages.distill_from_logits_stage import distill_from_logits
from kdzoo.experiments.stages.teacher_file_stage import teacher_file
from kdzoo.zoo import file_formats, list_models

TEACHER = "teacher"  # Name of the stage that teaches.
_EPOCHS = 20  # Where neither a recipe nor the user says.
_OF_TRAINING = ("epochs", "learning_rate", "optimizer", "weight_decay", "batch_size")


def usual_training() -> Training:
    """Returns how a network is trained where neither a recipe nor the user says."""
    return Training(_EPOCHS)


def is_file(teacher: str) -> bool:
    """Whether a teacher is that of a file or a directory; a name of an architecture wins."""
    is_path = file_formats.leads_to_model(teacher) or os.path.exists(teacher)
    return is_path and teacher not in list_models()


def alone(data: str, student: str, training: Training) -> Experiment:
    """Returns the experiment of a student alone, named as its data set."""
    return Experiment(data, data, (Train("alone", student, training),))


def of_logits(data: str, student: str, training: Training, logits: str) -> Experiment:
    """Returns a comparison of a student alone and one that learns the logits in a file."""
    taught = distill_from_logits("distilled", student, training, logits)
    return Experiment(data, data, (Train("alone", student, training), taught))


def of_data(data: str, name: str, student: str, training: Training | None = None) -> Experiment:
    """Returns a comparison on a data set: a student alone and distilled.

    Args:
        data: Name of the data set, or a directory.
        name: Names the experiment.
        student: Name of the student's architecture; the teacher's is yet to be changed.
        training: How the networks are trained; None for what is usual.
    """
    training = training or usual_training()
    teacher = Train(TEACHER, student, dataclasses.replace(training, learning_rate=2e-3), seeds=(0,))
    students = (Train("alone", student, training), Distill("distilled", student, training))
    return Experiment(name, data, (teacher, *students))


def changed(recipe: Experiment, given: dict[str, Any]) -> Experiment:
    """Returns a recipe with what was given instead.

    Args:
        recipe: The recipe.
        given: Option -> value, of those that were given.

    Raises:
        ValueError: If the students of the recipe differ in what an option would give to all.
    """
    fixed = sorted(set(given) - {"seeds"})
    compresses = any(isinstance(stage, Compress) for stage in recipe.stages)
    if compresses and fixed:
        raise ValueError(
            f"Expected no option but --seeds for {recipe.name!r}, whose settings stand in its "
            f"file. Received: --{fixed[0].replace('_', '-')}"
        )
    if "seeds" in given:
        if not compresses:
            _check_alike("seeds", [stage.seeds for stage in _students(recipe)], recipe, {None})
        recipe = dataclasses.replace(recipe, seeds=given["seeds"])
    if not fixed:
        return recipe
    students, smoke = _students(recipe), dict(recipe.smoke_settings)
    if "teacher" in given and given["teacher"] != recipe.stage(TEACHER).title:
        smoke.pop(TEACHER, None)  # What it says of the teacher is for the recipe's own.
    _check_students(recipe, students, given)
    stages = [
        _changed_student(stage, given) if stage in students else _changed_teacher(stage, given)
        for stage in recipe.stages
    ]
    return dataclasses.replace(recipe, stages=tuple(stages), smoke_settings=smoke)


def _students(recipe: Experiment) -> list[Stage]:
    return [stage for stage in recipe.stages if stage.name != TEACHER]


def _check_students(recipe: Experiment, students: Sequence[Any], given: dict[str, Any]) -> None:
    """Raises for an option in whose place students have settings of their own."""
    trainings = [stage.training for stage in students if _has(stage, "training")]
    networks = [stage for stage in students if _has(stage, "architecture")]
    weighted = [stage for stage in students if _has(stage, "student_loss_weight")]
    taught = [stage for stage in students if _has(stage, "losses")]
    had = {
        **{name: [getattr(training, name) for training in trainings] for name in _OF_TRAINING},
        "student": [(stage.architecture, stage.arguments) for stage in networks],
        "student_loss_weight": [stage.student_loss_weight for stage in weighted],
        "temperature": [(stage.name, stage.losses) for stage in taught],
    }
    for option, values in had.items():
        if option in given:
            _check_alike(option, values, recipe)
    augmented = given.get("augment_student", trainings and trainings[0].augmentation)
    if "views" in given and not augmented:
        raise ValueError(
            f"Expected --augment-student beside --views. Received: --views {given['views']} for "
            "students that see the images as they are"
        )


def _check_alike(option: str, values: list[Any], recipe: Experiment, allowed: Any = None) -> None:
    if allowed is None:
        allowed = values[:1]
    if any(value not in allowed for value in values):
        raise ValueError(
            f"Expected no --{option.replace('_', '-')} for {recipe.name!r}, whose students have "
            "their own. Received: one; compare on the data set, with --teacher and --student."
        )


def _changed_student(stage: Any, given: dict[str, Any]) -> Stage:
    training = {name: given[name] for name in _OF_TRAINING if name in given}
    if "augment_student" in given:
        training["augmentation"] = "default" if given["augment_student"] else None
    own = _with_training(stage, training)
    if (
        _has(stage, "architecture")
        and given.get("student", stage.architecture) != stage.architecture
    ):
        # What the recipe says more of the network is for its own.
        own.update(architecture=given["student"], arguments={})
    if "views" in given and not _has(stage, "hints"):
        own["views"] = given["views"]
    own.update({name: given[name] for name in ("student_loss_weight",) if name in given})
    if "temperature" in given and _has(stage, "losses"):
        own["losses"] = tuple(_at(given["temperature"], *loss) for loss in stage.losses)
    return dataclasses.replace(stage, **{name: own[name] for name in own if _has(stage, name)})


def _at(temperature: float, name: str, arguments: dict[str, Any], weight: float) -> tuple:
    own = {"temperature": temperature} if name == "SoftTargets" else {}
    return name, {**arguments, **own}, weight


def _changed_teacher(stage: Any, given: dict[str, Any]) -> Stage:
    if is_file(given.get("teacher", "")):
        return teacher_file(TEACHER, given["teacher"], given.get("teacher_scale"))
    if "/" in given.get("teacher", ""):
        return Pretrained(TEACHER, given["teacher"], seeds=stage.seeds)
    training = {name: given[name] for name in _OF_TRAINING[-2:] if name in given}
    training |= {
        name: given[f"teacher_{name}"] for name in _OF_TRAINING if f"teacher_{name}" in given
    }
    own = _with_training(stage, training)
    if given.get("teacher", stage.title) != stage.title:
        own.update(architecture=given["teacher"], arguments={})
    return dataclasses.replace(stage, **{name: own[name] for name in own if _has(stage, name)})


def _with_training(stage: Any, changes: dict[str, Any]) -> dict[str, Any]:
    """The field `training` with changes, of a stage that has one."""
    if not _has(stage, "training"):
        return {}
    return {"training": dataclasses.replace(stage.training, **changes)}


def _has(stage: Stage, name: str) -> bool:
    """Whether a stage has a setting of this name."""
    return any(field.name == name for field in dataclasses.fields(stage))
