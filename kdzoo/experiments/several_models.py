"""What the stage types share that train several models, at once or one after the other."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import keras

from kdzoo import evaluation
from kdzoo.experiments import build_and_fit
from kdzoo.experiments.measure_model import measure, test_arrays
from kdzoo.experiments.stage import Built
from kdzoo.models.ensemble import Ensemble as Ensemble
from kdzoo.models.specialist_distribution import check_classes as check_classes
from kdzoo.utils import check_choice, check_text, shown
from kdzoo.zoo.registry import architecture

if TYPE_CHECKING:
    from kdzoo.experiments.stage_context import StageContext


def check_built(what: str, given: Any) -> None:
    """Raises `ValueError` unless something is the name of an architecture and its arguments.

    Args:
        what: What the model is, such as `"peer"`.
        given: What was given for it.
    """
    if not isinstance(given, tuple | list) or len(given) != 2 or not isinstance(given[1], dict):
        raise ValueError(
            f"Expected a {what} as (architecture, arguments of its builder). Received: "
            f"{shown(given)}"
        )
    architecture(check_text(f"architecture of a {what}", given[0]))


def check_average(average: Any) -> None:
    """Raises `ValueError` unless this is a way to average an ensemble."""
    check_choice("average", average, Ensemble.AVERAGES)


def created_like(model: keras.Model, built: Sequence[Built]) -> list[keras.Model]:
    """Returns fresh models for the images and classes of another one.

    Args:
        model: A fresh model of the stage.
        built: The architecture and arguments of each.

    Raises:
        ValueError: If a builder takes no such argument.
    """
    classes, shape = model.output_shape[-1], tuple(model.input_shape[1:])
    return [build_and_fit.create_for(part, classes, shape) for part in built]


def copy(model: keras.Model) -> keras.Model:
    """Returns a copy of a functional or sequential model, with its weights."""
    made = keras.models.clone_model(model)
    made.set_weights(model.get_weights())
    return made


def in_float32(
    models: Sequence[keras.Model], built: Sequence[Built], context: "StageContext"
) -> list[keras.Model]:
    """Returns copies of models that compute in float32, not compiled.

    Args:
        models: The models of a stage.
        built: The architecture and arguments of each.
        context: As in `Stage.run`.
    """
    return [
        build_and_fit.copy_in("float32", model, (name, arguments), context.data)
        for model, (name, arguments) in zip(models, built, strict=True)
    ]


def products_of(
    models: Sequence[keras.Model],
    names: Sequence[str],
    context: "StageContext",
    with_ensemble: bool = False,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the products of a stage with several models, and what its row says of them.

    Args:
        models: The models, the one that is delivered first.
        names: Names of the others as products.
        context: As in `Stage.run`.
        with_ensemble: Whether the mean of their softmaxes is measured, too.
    """
    products = dict(zip(names, models[1:], strict=True))
    measured = [measure(model, context.data) for model in models]
    row = {**measured[0], "test_accuracies": [part["test_accuracy"] for part in measured]}
    if with_ensemble:
        ensemble = Ensemble(list(models), average="probabilities")
        accuracy = evaluation.accuracy(ensemble, *test_arrays(context.data))
        row["ensemble_test_accuracy"] = accuracy
    return {"model": models[0], **products}, row
