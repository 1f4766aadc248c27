"""What is left to train of recipes, and how long it will take, before it is begun.

python -m tools.estimate_recipes               all recipes; `make estimate`
python -m tools.estimate_recipes digits ...    some of them

A model that was trained before, here or for the committed results, takes what it took. Of others
the time is guessed: from the images that are trained on, the multiply-accumulates of the network,
and how many of these such networks were seen to train in a second on two cores of an EPYC with
AVX512_BF16, some of them beside other work: a guess may be off by half. What a teacher predicts
comes on top, once for each recorded view, at about a third of its own training's time. A network
with fewer filters counts with what is left of its multiply-accumulates, after each round if they go
in rounds; whatever else makes one smaller is trained at the cost of the whole one.
"""

import argparse
import functools
import json
import pathlib
import statistics
import types
from collections.abc import Sequence
from typing import Any

# Before Keras: so TensorFlow uses oneDNN on every processor.
import kdzoo  # noqa: F401  # isort: skip

from kdzoo.evaluation import count_macs
from kdzoo.experiments import (
    Compress,
    Experiment,
    PruneFilters,
    Specialists,
    TrainExits,
    TrainWidths,
)
from kdzoo.experiments import estimate as estimates
from kdzoo.experiments.stage import Node, Stage, as_tuple
from kdzoo.recipes import RECIPES
from kdzoo.utils import unknown_name
from kdzoo.zoo import create
from kdzoo.zoo.registry import architecture
from tools.train_zoo import MEASURED, committed_rows

# Training images, classes and shape of an image.
_DATA: dict[str, tuple[int, int, tuple[int, int, int]]] = {
    "digits": (1000, 10, (8, 8, 1)),
    "mnist": (60_000, 10, (28, 28, 1)),
    "fashion_mnist": (60_000, 10, (28, 28, 1)),
    "cifar10": (50_000, 10, (32, 32, 3)),
    "cifar100": (50_000, 100, (32, 32, 3)),
}
# Architecture or family -> millions of multiply-accumulates of one forward pass that a second of
# training takes.
RATES: dict[str, float] = {
    "separable": 5000,
    "separable_050": 10_000,
    "separable_100": 16_000,
    "resnet": 10_000,
    "resnet_20": 28_000,
    "wide_resnet": 15_000,
    "plain_cnn_2": 4000,
    "plain_cnn_10": 20_000,
    "plain_cnn": 9000,
    "fitnet": 20_000,
    "fitnet_mnist": 15_000,
    "shallow": 9000,
    "lenet": 20_000,
    "lenet_300_100": 10_000,
    "mlp": 25_000,
    "lenet_5": 12_000,
    "keras_application": 3000,
    "branchy_lenet": 10_000,
    "msdnet": 8000,
}


def guessed_seconds(recipe: Experiment, node: Node) -> float | None:
    """Returns how long a model will take that was never timed; None if nothing is known.

    Args:
        recipe: The recipe.
        node: One of its stages, or of its base's, with a seed.
    """
    stage, owner = recipe.stage(node.stage), recipe.owner(node.stage)
    name, arguments = recipe.built_from(node.stage)
    if not stage.trains:
        return 0.0
    rate = RATES.get(name, RATES.get(architecture(name).family))
    if rate is None or owner.data not in _DATA:
        return None
    images, classes, shape = _DATA[owner.data]
    kept = 1 - (0.1 if owner.validation is None else owner.validation)
    transfer: Any = getattr(stage, "transfer", None)
    if transfer is not None and transfer.fraction:
        kept *= transfer.fraction
    if isinstance(stage, TrainExits):
        data: Any = types.SimpleNamespace(classes=classes, input_shape=shape)
        macs: float = count_macs(stage.own_model(data))
    else:
        macs = _macs(name, json.dumps(arguments), classes, shape) * _trained_with(recipe, stage)
    return images * kept * stage.epochs * _times(stage) * macs / (1e6 * rate)


def _times(stage: Any) -> float:
    """How many times the multiply-accumulates of its network a stage takes for an image."""
    if isinstance(stage, Specialists):
        return 2  # So many more samples has an epoch.
    if not isinstance(stage, TrainWidths):
        return 1 + len(getattr(stage, "peers", ()))
    widths = list(stage.widths) if stage.only is None else [stage.only]
    if stage.only is None and stage.middle_widths is not None:
        usual = statistics.fmean(widths[1:-1])
        widths = [widths[0], *[usual] * stage.middle_widths, widths[-1]]
    return sum(width**2 for width in widths)


def _trained_with(recipe: Experiment, stage: Stage) -> float:
    """The fraction of a network's multiply-accumulates that a stage trains with in the mean."""
    return _started_with(recipe, stage) * statistics.fmean(_left_in_trainings(stage))


def _left_by(recipe: Experiment, stage: Stage) -> float:
    """The fraction of a network's multiply-accumulates that a stage leaves."""
    return _started_with(recipe, stage) * _left_in_trainings(stage)[-1]


def _left_in_trainings(stage: Stage) -> list[float]:
    """The fractions of what a stage starts from that its trainings of equal length have."""
    if isinstance(stage, PruneFilters):
        return _left_in_rounds(*stage.target, stage.steps)
    left = [1.0]
    if isinstance(stage, Compress):
        for step, trainings in stage.compression.trainings.items():
            if step == "filters":
                ((name, value),) = stage.compression.target_of_filters.items()
                left += _left_in_rounds(name, value, trainings)
            else:
                left += [left[-1]] * trainings
    return left[1:] or left


def _left_in_rounds(name: str, value: float, rounds: int) -> list[float]:
    """About what fractions of the multiply-accumulates each round of filter pruning leaves."""
    parts = [number / rounds for number in range(1, rounds + 1)]
    if name == "ratio":  # Of what reads a channel and of what makes it.
        return [(1 - value * part) ** 2 for part in parts]
    return [1.0 if name == "target_latency_ms" else 1 - (1 - value) * part for part in parts]


def _started_with(recipe: Experiment, stage: Stage) -> float:
    """The fraction that the stages left which a stage starts from."""
    starts = as_tuple(stage.dependencies().get("start", ()))
    return min((_left_by(recipe, recipe.stage(start.stage)) for start in starts), default=1.0)


@functools.cache
def _macs(name: str, arguments: str, classes: int, shape: tuple[int, int, int]) -> int:
    """The multiply-accumulates of a network, whose arguments come as JSON to be looked up by."""
    return count_macs(create(name, classes, shape, **json.loads(arguments)))


def line(name: str, runs: pathlib.Path, measured: pathlib.Path = MEASURED) -> str:
    """Returns what is left of a recipe, and how long that takes, in a line.

    Args:
        name: Name of the recipe.
        runs: Directory with a directory of each recipe's run.
        measured: Directory of committed results, which say how long a model took.
    """
    recipe, directory = RECIPES[name], runs / name
    left = estimates.left(recipe, directory)
    if not left:
        return f"{name}: finished"
    timed = estimates.seconds(recipe, directory, left, lambda run: committed_rows(measured, run))
    guessed = [
        guessed_seconds(recipe, node) if seconds is None else None
        for node, seconds in zip(left, timed, strict=True)
    ]
    known = [seconds for seconds in (*timed, *guessed) if seconds is not None]
    if not known:
        return f"{name}: {len(left)} models to train, not timed yet"
    hours, untimed = sum(known) / 3600, len(left) - len(known)
    how = [f"{len([s for s in timed if s is not None])} timed"]
    how += [f"{len([s for s in guessed if s is not None])} guessed"]
    how += [f"{untimed} not timed yet"] if untimed else []
    return f"{name}: {len(left)} models to train, about {hours:.1f} hours ({', '.join(how)})"


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints a line for each recipe."""
    parser = argparse.ArgumentParser(prog="python -m tools.estimate_recipes")
    parser.add_argument("recipes", nargs="*", help="names of recipes; all if left out")
    parser.add_argument("--runs", default="runs", type=pathlib.Path)
    given = parser.parse_args(arguments)
    for name in given.recipes:
        if name not in RECIPES:
            parser.error(str(unknown_name("recipe", name, RECIPES)))
    for name in given.recipes or RECIPES:
        try:
            print(line(name, given.runs), flush=True)
        except ValueError as error:
            print(f"{name}: {error}")


if __name__ == "__main__":
    main()
