"""A small MSDNet on CIFAR-10 (Huang et al. 2018): accuracy by mean cost, and what exits cost.

    kdzoo train msdnet_cifar10

"exits" learns by the sum of its exits' losses on the labels, as in the paper. Beside it is the same
network whose last exit teaches the others, with scaled gradients (Li et al. 2019). "budgets" has
the curve of the first one that stops when it is sure, by thresholds that were fitted to held-out
images in the paper's way; in "budgets, exits skipped" only some exits in a row may be used. Beside
it are networks of one cost each: the same network cut at an exit and trained alone, and students of
the zoo, which had a teacher and more epochs.

How much the last exit loses by a first one is measured for a residual network and for an MSDNet of
nine layers, with the first exit early, in the middle and late: by the sum of both losses, as in the
paper's figure 3, and early with scaled gradients too. Beside a first exit, an MSDNet of two exits
has the last one's layers whatever the place is. One seed, and 22 epochs, 10 of the pairs, where the
paper has 300: some seven hours of one core.
"""

from typing import Any

from kdzoo.experiments import (
    Dependency,
    Experiment,
    FitThresholds,
    Pretrained,
    TrainExits,
    Training,
)
from kdzoo.recipes.students import by_sgd

_BUDGETS = (0.31, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.85)
"""Fractions of the costs of the last exit; the first exit has 0.298."""
# Many small convolutions, which half precision makes no quicker.
_WHOLE, _OF_PAIRS = (Training(epochs, 0.1, 0.005, "sgd") for epochs in (22, 10))
_SELF_TAUGHT = "exits taught by the last one, scaled gradients"
_LOST: dict[str, Any] = {"lost_accuracy": 0.005}
_LAYERS = 9
_FIRST_LAYERS = {"early": 2, "in the middle": 4, "late": 7}
_AFTER = {"early": "stem_relu", "in the middle": "stage1", "late": "stage2"}


def _msdnet(name: str, place: str, **settings: Any) -> TrainExits:
    """An MSDNet of two exits, of which the first is at a place."""
    first = _FIRST_LAYERS[place]
    arguments = {"exits": 2, "first_layers": first, "more_layers": _LAYERS - first}
    return TrainExits(f"MSDNet, {name}", "msdnet_small", _OF_PAIRS, arguments, **settings)


def _residual(name: str, place: str, **settings: Any) -> TrainExits:
    """A residual network with a first exit at a place."""
    settings = {"at": (_AFTER[place],), "heads": "convolved", **settings}
    return TrainExits(f"residual, {name}", "resnet_20", by_sgd(10), {"depth": 8}, **settings)


def _pairs(network: Any) -> tuple[TrainExits, ...]:
    """The last exit alone, and beside a first one at three places."""
    plain: dict[str, Any] = {"equal_gradients": False}
    return (
        network("last exit alone", "early", only=-1),
        *(network(f"first exit {place}", place, **plain) for place in _FIRST_LAYERS),
        network("first exit early, scaled gradients", "early"),
    )


RECIPE = Experiment(
    name="msdnet_cifar10",
    data="cifar10",
    stages=(
        TrainExits("exits", "msdnet_small", _WHOLE, equal_gradients=False),
        TrainExits(_SELF_TAUGHT, "msdnet_small", _WHOLE, student_loss_weight=0.5),
        FitThresholds("budgets", Dependency("exits"), _BUDGETS, latency=True, **_LOST),
        FitThresholds(
            "budgets, exits skipped", Dependency("exits"), _BUDGETS, rule="skipping", **_LOST
        ),
        *(
            TrainExits(f"exit {number} alone", "msdnet_small", _WHOLE, only=number)
            for number in (1, 2, 3, 4)
        ),
        Pretrained("separable_025", "separable_025/cifar10"),
        Pretrained("separable_050", "separable_050/cifar10"),
        *_pairs(_msdnet),
        *_pairs(_residual),
    ),
    seeds=(0,),
    smoke_settings={
        "stages": ("exits", "budgets", "residual, first exit early"),
        "budgets": {"latency": False},
    },
)
