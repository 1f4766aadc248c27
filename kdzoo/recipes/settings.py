"""The settings of a comparison: which of them a model depends on, and whether they are right."""

import dataclasses
import json

from kdzoo.recipes.results import directory_name
from kdzoo.recipes.student import (
    OF_RECIPE,
    OPTIMIZERS,
    PRECISIONS,
    Student,
    check_dictionaries,
    check_rates,
)
from kdzoo.utils import (
    check_choice,
    check_flag,
    check_positive_integer,
    check_text,
    is_number,
    shown,
    unknown_name,
)
from kdzoo.zoo import architecture
from kdzoo.zoo.manifest import check_classes

_OF_STUDENTS = ("student", "epochs", "temperature", "learning_rate", "augment_student")
_OF_STUDENTS += ("student_loss_weight", "student_arguments", "views", "optimizer")
_OF_TEACHERS_TRAINING = ("teacher_arguments", "teacher_augmentation", "teacher_epochs")
_OF_TEACHERS_TRAINING += ("teacher_learning_rate", "teacher_optimizer", "teacher_weight_decay")


def check_kinds(what, kinds, known):
    """Returns the kinds that are asked for, all that are known when None, in a tuple.

    Args:
        what: What they are, for the error.
        kinds: A list of names, or None.
        known: The names that there are.

    Raises:
        ValueError: If one is unknown.
    """
    if isinstance(kinds, str | bytes) or not (kinds is None or hasattr(kinds, "__iter__")):
        raise ValueError(f"Expected a list of names. Received: kinds={shown(kinds)}")
    chosen = tuple(kinds or ())
    for kind in chosen:
        check_choice(what, kind, known)
    return tuple(known) if kinds is None else chosen


def check_settings(recipe):
    """Raises unless the names are known and the numbers in range.

    Args:
        recipe: The `Comparison`.

    Raises:
        ValueError: If they are not.
    """
    from kdzoo.data import Augmentation
    from kdzoo.distillation import argument_checks

    _check_students(recipe)
    _check_types(recipe)
    for name in ("teacher", *recipe.kinds):
        architecture(recipe.built_from(name)[0])
    if recipe.pretrained_teacher and recipe.teacher_arguments:
        raise ValueError(
            "Expected no teacher_arguments for a teacher that is built already. Received: "
            f"teacher={recipe.teacher!r}, teacher_arguments={recipe.teacher_arguments}"
        )
    argument_checks.check_student_loss_weight(recipe.student_loss_weight)
    for student in recipe.kinds.values():
        student.check()
    if recipe.teacher_augmentation is not None:
        if not isinstance(recipe.teacher_augmentation, dict):
            raise ValueError(
                "Expected teacher_augmentation as a dictionary, arguments of Augmentation. "
                f"Received: teacher_augmentation={shown(recipe.teacher_augmentation)}"
            )
        known = [field.name for field in dataclasses.fields(Augmentation)]
        for name in recipe.teacher_augmentation:
            if name not in known:
                raise unknown_name("argument of Augmentation", name, known)
        Augmentation(**recipe.teacher_augmentation)
    _check_numbers(recipe)
    _check_choices(recipe)
    check_seeds(recipe)
    _check_directories(recipe)


def _check_types(recipe):
    """Raises unless names are strings, and arguments dictionaries."""
    for field in ("data", "teacher", "student"):
        check_text(field, getattr(recipe, field))
    fields = ("teacher_arguments", "student_arguments", "paper", "smoke_settings")
    check_dictionaries({field: getattr(recipe, field) for field in fields})
    check_flag("augment_student", recipe.augment_student)
    if not is_number(recipe.temperature) or not 0 < recipe.temperature < float("inf"):
        raise ValueError(
            f"Expected temperature above 0. Received: temperature={shown(recipe.temperature)}"
        )
    validation = 0 if recipe.validation is None else recipe.validation
    if not is_number(validation) or not 0 <= validation < 1:
        raise ValueError(
            "Expected validation to be a fraction of the training images, from 0 to below 1. "
            f"Received: validation={shown(validation)}"
        )


def _check_students(recipe):
    """Raises unless the students are `Student`s by the names of their kinds."""
    given = recipe.students
    are_students = isinstance(given, dict) and all(
        isinstance(kind, str) and isinstance(each, Student) for kind, each in given.items()
    )
    if not are_students:
        raise ValueError(
            "Expected students as a dictionary, the name of a kind -> Student. Received: "
            f"students={shown(given)}"
        )


def _check_numbers(recipe):
    """Raises unless epochs, rates and the like are in range."""
    for field in ("teacher_epochs", "epochs", "batch_size", "enlarge"):
        value = getattr(recipe, field)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(
                f"Expected {field} to be an integer of at least 1. Received: {field}={shown(value)}"
            )
    if recipe.views is not None:
        check_positive_integer("views", recipe.views)
        if not recipe.augment_student:
            raise ValueError(
                "Expected views only where the students see augmented images. Received: "
                f"views={recipe.views}, augment_student=False"
            )
    rates = ["teacher_learning_rate", "learning_rate", "weight_decay"]
    rates += ["teacher_weight_decay"] if recipe.teacher_weight_decay is not None else []
    check_rates({field: getattr(recipe, field) for field in rates})


def _check_choices(recipe):
    """Raises unless optimizers and precisions are known."""
    for field in ("optimizer", "teacher_optimizer"):
        check_choice(field, getattr(recipe, field), OPTIMIZERS)
    for field in ("precision", "teacher_precision"):
        value = getattr(recipe, field)
        is_left_out = value is None and field == "teacher_precision"
        if not is_left_out:
            check_choice(field, value, PRECISIONS)


def check_seeds(recipe):
    """Raises `ValueError` unless there are seeds, each once and one that all generators take."""
    if not isinstance(recipe.seeds, tuple | list):
        raise ValueError(f"Expected seeds as a tuple. Received: seeds={shown(recipe.seeds)}")
    for seed in recipe.seeds:
        if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**32:
            raise ValueError(
                "Expected seeds to be integers from 0 to 2**32 - 1. Received: "
                f"seeds={shown(tuple(recipe.seeds))}"
            )
    if not recipe.seeds or len(set(recipe.seeds)) != len(recipe.seeds):
        raise ValueError(
            f"Expected at least one seed, each once. Received: seeds={shown(tuple(recipe.seeds))}"
        )


def _check_directories(recipe):
    """Raises if two kinds of model would share a directory."""
    kinds = {}
    for kind in ("teacher", *recipe.kinds):
        kinds.setdefault(directory_name(kind, 0), []).append(kind)
    for home, alike in kinds.items():
        if len(alike) > 1:
            raise ValueError(
                "Expected kinds of student whose directories differ from each other's and from "
                f"the teacher's. Received: {alike[0]!r} and {alike[1]!r}, both in {home}"
            )


def check_teacher(recipe, data):
    """Raises unless a pretrained teacher knows the images and classes that it is to teach.

    Args:
        recipe: The `Comparison`.
        data: Its `kdzoo.data.Dataset`.

    Raises:
        ValueError: If it was trained for images of another shape, or for other classes.
    """
    row = recipe.pretrained_teacher
    if row is None:
        return
    if row.input_shape != data.input_shape:
        raise ValueError(
            f"Expected a teacher for images of {data.input_shape}, as {data.name!r} has. Received: "
            f"teacher={row.name!r}, for {row.input_shape}"
        )
    check_classes(row, data, "teacher")


def settings_of(recipe, kind):
    """Returns the fields that a kind of model may depend on, as JSON gives them back.

    Args:
        recipe: The `Comparison`.
        kind: `"teacher"` or a key of `recipe.kinds`.
    """
    fields = json.loads(json.dumps(dataclasses.asdict(recipe)))
    for name in ("seeds", "paper", "students", "smoke_settings"):
        del fields[name]
    is_pretrained = recipe.pretrained_teacher is not None
    if kind == "teacher" and is_pretrained:
        return {name: fields[name] for name in ("data", "enlarge", "teacher", "validation")}
    if kind != "teacher":
        taught = json.loads(json.dumps(dataclasses.asdict(recipe.kinds[kind])))
        del taught["seed_count"]
        for name in OF_RECIPE:
            if taught[name] is None:  # That is among the fields.
                del taught[name]
        for name in _OF_TEACHERS_TRAINING if is_pretrained else ():
            del fields[name]
        return {**fields, "taught": taught}
    for name in ("precision", "weight_decay"):
        own = getattr(recipe, f"teacher_{name}")
        fields[name] = fields[name] if own is None else own
    return {name: value for name, value in fields.items() if name not in _OF_STUDENTS}
