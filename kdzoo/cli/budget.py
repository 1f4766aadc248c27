"""`--budget`: what an image may cost in the mean, of a model that stops at early exits."""

import re
from typing import TYPE_CHECKING, Annotated

import typer

from kdzoo.cli import terminal
from kdzoo.utils import shown

if TYPE_CHECKING:
    import keras

    from kdzoo.data import Dataset
    from kdzoo.dynamic import BudgetedClassifier

Budget = Annotated[
    str | None,
    typer.Option(
        help="Write a model of several exits as a file that stops early, at this mean cost of an "
        "image: multiply-accumulates (20e6) or a part of the last exit's (50%). The validation "
        "images of --data tell how sure each exit must be.",
        show_default="all outputs at once",
    ),
]
_FORM = re.compile(r"(?a:(\d{1,30}(?:\.\d{0,30})?(?:[eE]\+?\d{1,2})?)\s*(%?))")


def check_budget(budget: str | None, data: str | None) -> None:
    """Raises `ValueError` for what is no budget, or has no data; before Keras starts.

    Args:
        budget: What was given as `--budget`.
        data: What was given as `--data`.
    """
    if budget is None:
        return
    found = _FORM.fullmatch(budget.strip())
    if found is None or not float(found[1]) > 0:
        raise ValueError(
            "Expected --budget to be multiply-accumulates, as 20e6, or a part of the last exit's, "
            f"as 50%. Received: --budget {shown(budget)}"
        )
    if data is None:
        raise ValueError(
            "Expected --data NAME beside --budget, which is kept to on its validation images. "
            "Received: no --data."
        )


def budgeted(
    model: "keras.Model", budget: str, data: "Dataset"
) -> "tuple[BudgetedClassifier, str]":
    """Returns a classifier that keeps to a budget on validation images, and what to say of it.

    Args:
        model: A model of several exits.
        budget: What was given as `--budget`, checked.
        data: The data set.

    Raises:
        ValueError: If the model has one output, the data have no validation images, or the first
            exit costs more.
    """
    from kdzoo.dynamic import BudgetedClassifier, Slimmable

    if isinstance(model, Slimmable):
        raise ValueError(
            f"Expected a model of several exits beside --budget. Received: {model.name!r}, of "
            "several widths, which are signatures of the file without --budget."
        )
    if data.validation is None:
        raise ValueError(
            f"Expected data with a validation split beside --budget. Received: {data.name!r} "
            "without one."
        )
    classifier = BudgetedClassifier(model)
    first, last = classifier.costs[0], classifier.costs[-1]
    number, percent = _FORM.fullmatch(budget.strip()).groups()  # type: ignore[union-attr]
    allowed = float(number) * (last / 100 if percent else 1)
    if allowed < first:
        raise ValueError(
            f"Expected --budget to be at least {first:,.0f}, {terminal.percent(first / last)} of "
            f"the last exit's cost, as the first exit takes these. Received: --budget {budget}"
        )
    images, labels = data.validation.arrays()
    report = classifier.fit(images, labels, budget=allowed)
    stopping = ", ".join(
        f"{terminal.percent(part)} at exit {place}"
        for place, part in enumerate(report.fractions, 1)
    )
    return classifier, (
        f" It stops early: on {len(images):,} validation images "
        f"{terminal.percent(report.accuracy)} are right, where the last exit alone has "
        f"{terminal.percent(report.exit_accuracies[-1])}, at {report.mean_cost:,.0f} "
        f"multiply-accumulates in the mean, {terminal.percent(report.mean_cost / last)} of the "
        f"last exit's; {stopping}."
    )
