"""`kdzoo list`: what there is, by name. It needs neither Keras nor TensorFlow."""

import typing
from collections.abc import Callable
from typing import Annotated

import typer

from kdzoo.cli import terminal
from kdzoo.utils import UnknownNameError, unknown_name

if typing.TYPE_CHECKING:
    from rich.table import Table

    from kdzoo.data import Augmentation
    from kdzoo.zoo.pair_definitions import PairDefinition

NOT_SHIPPED = ", not shipped"


def list_names(
    kind: Annotated[
        str | None,
        typer.Argument(
            help="Which kind of names: models, pretrained, pairs, data or recipes.",
            show_default="all",
        ),
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="Show only pretrained models and pairs for this data set.")
    ] = None,
    family: Annotated[
        str | None, typer.Option(help="Show only models and pretrained models of this family.")
    ] = None,
) -> None:
    """List what has a name: models, pretrained, pairs, data, recipes."""
    if kind is not None and kind not in _TABLES:
        raise unknown_name("kind of name", kind, _TABLES)
    options = {"dataset": dataset, "family": family}
    filters = {option: value for option, value in options.items() if value is not None}
    makers = [
        make
        for name, (make, known) in _TABLES.items()
        if kind in (None, name) and filters.keys() <= known
    ]
    if not makers:
        raise ValueError(
            "Expected --dataset with pretrained or pairs, --family with models or pretrained. "
            f"Received: {kind} with {' '.join(f'--{name}' for name in filters)}"
        )
    tables, refused = [], []
    for make in makers:
        try:
            tables.append(make(**filters))
        except UnknownNameError as error:  # A family of which nothing is pretrained, say.
            refused.append(error)
    if not tables:
        raise refused[0]
    for table in tables:
        terminal.show(table)


def _models(family: str | None = None) -> "Table":
    from kdzoo.zoo import architecture, list_models

    table = terminal.table("name", "what it is", "paper", title="Models")
    for name in list_models(family):
        named = architecture(name)
        table.add_row(name, named.description, named.paper)
    return table


def _pretrained(dataset: str | None = None, family: str | None = None) -> "Table":
    from kdzoo.zoo import cards, list_pretrained
    from kdzoo.zoo.manifest import find

    columns = ("name", ">accuracy", ">parameters", ">bytes", "recipe")
    table = terminal.table(*columns, title="Pretrained models")
    names = list_pretrained(dataset, family)
    if not names:  # There are models of both, but none of both at once.
        known = {find(name).family for name in list_pretrained(dataset)}
        raise ValueError(
            f"Expected a family with pretrained models for {dataset!r}, one of "
            f"{', '.join(sorted(known))}. Received: {family!r}"
        )
    for row in map(find, names):
        table.add_row(
            row.name,
            terminal.percent(cards.shipped_accuracy(row), 2),
            f"{row.measured['parameters']:,}",
            f"{cards.shipped_file(row).bytes:,}",
            row.training["recipe"],
        )
    return table


def _pairs(dataset: str | None = None) -> "Table":
    from kdzoo.zoo.pair_definitions import list_pairs, pair_definition

    table = terminal.table("name", "teacher", "student", "data", title="Pairs")
    for name in list_pairs(dataset):
        pair = pair_definition(name)
        table.add_row(name, teacher_of(pair), pair.student, pair.dataset)
    return table


def teacher_of(pair: "PairDefinition") -> str:
    """Returns the name of a pair's teacher; `NOT_SHIPPED` after it where kdzoo cannot load it."""
    from kdzoo.zoo.manifest import read_manifest

    downloaded = pair.teacher.startswith("keras.applications.")
    return pair.teacher + ("" if downloaded or pair.teacher in read_manifest() else NOT_SHIPPED)


def _data() -> "Table":
    from kdzoo.data.catalog import DATASETS

    table = terminal.table("name", "from", "augmentation in training", title="Data sets")
    for name, known in DATASETS.items():
        table.add_row(name, known.origin, _in_words(known.augmentation))
    table.add_row("others, images all of one size", "tensorflow-datasets", "none")
    table.add_row("a directory", "`kdzoo data export`", "that of its data set")
    return table


def _in_words(augmentation: "Augmentation") -> str:
    parts = [f"shift by up to {augmentation.shift}"] if augmentation.shift else []
    parts += ["mirror"] if augmentation.flip else []
    parts += [f"cut out {augmentation.cutout}x{augmentation.cutout}"] if augmentation.cutout else []
    return ", ".join(parts) or "none"


def _recipes() -> "Table":
    from kdzoo.experiments.stage import as_tuple
    from kdzoo.recipes import RECIPES

    table = terminal.table("name", "data", "teacher", "student", "compared", title="Recipes")
    for name, recipe in RECIPES.items():
        stages = [stage for stage in recipe.names if stage not in ("teacher", "student", "float32")]
        students = list(dict.fromkeys(recipe.built_from(stage)[0] for stage in stages))
        student = students[0] if len(students) == 1 else f"{len(students)} networks"
        compared = ", ".join(stages) if len(stages) < 4 else f"{len(stages)} variants"
        teachers = {
            recipe.stage(dependency.stage).title: None
            for stage in recipe.stages
            for dependency in as_tuple(stage.dependencies().get("teacher", ()))
        }
        teacher = "none" if not teachers else f"{len(teachers)} networks"
        teacher = next(iter(teachers)) if len(teachers) == 1 else teacher
        table.add_row(name, recipe.data, teacher, student, compared)
    return table


# What `kdzoo list` is given -> what makes the table, and the options that choose among its rows.
_TABLES: dict[str, tuple[Callable[..., "Table"], set[str]]] = {
    "models": (_models, {"family"}),
    "pretrained": (_pretrained, {"dataset", "family"}),
    "pairs": (_pairs, {"dataset"}),
    "data": (_data, set()),
    "recipes": (_recipes, set()),
}
