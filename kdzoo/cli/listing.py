"""`kdzoo list` and `kdzoo card`: what there is, by name. They need neither Keras nor TensorFlow."""

from typing import Annotated

import typer

from kdzoo.cli import terminal
from kdzoo.utils import unknown_name


def list_names(
    kind: Annotated[
        str | None,
        typer.Argument(help="models, pretrained, pairs, data or recipes; all if left out."),
    ] = None,
):
    """List what has a name: models, pretrained, pairs, data, recipes."""
    shown = {
        "models": _models,
        "pretrained": _pretrained,
        "pairs": _pairs,
        "data": _data,
        "recipes": _recipes,
    }
    if kind is not None and kind not in shown:
        raise unknown_name("kind of name", kind, shown)
    for each, make in shown.items():
        if kind in (None, each):
            terminal.show(make())


def _models():
    from kdzoo.zoo import architecture, list_models

    table = terminal.table("name", "what it is", "paper", title="Models")
    for name in list_models():
        found = architecture(name)
        table.add_row(name, found.description, found.paper)
    return table


def _pretrained():
    from kdzoo.zoo import cards
    from kdzoo.zoo.manifest import read_manifest

    columns = ("name", ">test accuracy", ">parameters", ">bytes", "trained by")
    table = terminal.table(*columns, title="Pretrained models")
    for row in read_manifest().values():
        table.add_row(
            row.name,
            terminal.percent(cards.shipped_accuracy(row), 2),
            f"{row.measured['parameters']:,}",
            f"{cards.shipped_file(row).bytes:,}",
            row.training["command"],
        )
    return table


def _pairs():
    from kdzoo.zoo.pairs import list_pairs, pair

    table = terminal.table("name", "teacher", "student", "data", title="Pairs")
    for name in list_pairs():
        found = pair(name)
        table.add_row(name, found.teacher, found.student, found.dataset)
    return table


def _data():
    from kdzoo.data.augmentation import DEFAULTS

    table = terminal.table("name", "from", "augmentation in training", title="Data sets")
    for name, augmentation in DEFAULTS.items():
        source = "scikit-learn, no download" if name == "digits" else "tensorflow-datasets"
        table.add_row(name, source, _in_words(augmentation))
    table.add_row("any other image classification set", "tensorflow-datasets", "none")
    table.add_row("a directory", "`kdzoo data export`", "as its data set")
    return table


def _in_words(augmentation):
    parts = [f"shift by up to {augmentation.shift}"] if augmentation.shift else []
    parts += ["mirror"] if augmentation.flip else []
    parts += [f"cut out {augmentation.cutout}x{augmentation.cutout}"] if augmentation.cutout else []
    return ", ".join(parts) or "none"


def _recipes():
    from kdzoo.recipes import RECIPES

    table = terminal.table("name", "data", "teacher", "student", "compared", title="Recipes")
    for name, recipe in RECIPES.items():
        compared = (
            ", ".join(recipe.kinds) if len(recipe.kinds) < 4 else f"{len(recipe.kinds)} kinds"
        )
        table.add_row(name, recipe.data, recipe.teacher, recipe.student, compared)
    return table


def card(name: Annotated[str, typer.Argument(help="A name that `kdzoo list pretrained` shows.")]):
    """Show the card of a pretrained model, in Markdown."""
    from kdzoo.zoo.cards import card as card_of

    typer.echo(card_of(name))
