"""BranchyNet's LeNet on MNIST (Teerapittayanon et al. 2016): most digits stop at its first exit.

    kdzoo train early_exit_mnist

The paper: 99.25 % at 5.4 times the speed of the LeNet alone, which has 99.20 %; 94.3 % of the
digits stop at the first exit. The most that this exit can save is 5.18 times the multiplications.
Here thresholds are fitted to held-out images, so that there the accuracy of the LeNet alone is kept
at the least cost. "as in the paper" is trained on labels alone, with its weights of the exits, and
stops by entropy; in "self-taught" the last exit teaches the first, in "taught" LeNet-5 of the zoo
teaches both. Beside it is what the LiteRT file takes for a digit at batch 1. Some two hours of one
core.
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

_NETWORK = ("branchy_lenet", Training(40, 2e-3, weight_decay=0.0, augmentation=None))
_PAPER: dict[str, Any] = {"exit_weights": (1.0, 0.3), "equal_gradients": False}
_TAUGHT: dict[str, Any] = {
    "teacher": Dependency("teacher", 0),
    "student_loss_weight": 0.3,
    "temperature": 4.0,
}
_BUDGETS = (0.18, 0.19, 0.2, 0.21, 0.22, 0.24, 0.27, 0.32, 0.4, 0.6)
"""Fractions of the costs of the last exit; the first exit has 0.176."""


def _stopping(name: str, exits: str, **settings: Any) -> FitThresholds:
    """Exits that stop, with the accuracy of the LeNet alone."""
    kept = Dependency("alone")
    return FitThresholds(name, Dependency(exits), _BUDGETS, kept=kept, latency=True, **settings)


RECIPE = Experiment(
    name="early_exit_mnist",
    data="mnist",
    stages=(
        Pretrained("teacher", "lenet_5/mnist", seeds=(0,)),
        TrainExits("alone", *_NETWORK, only=-1),
        TrainExits("exits as in the paper", *_NETWORK, **_PAPER),
        TrainExits("self-taught exits", *_NETWORK, student_loss_weight=0.5),
        TrainExits("taught exits", *_NETWORK, **_TAUGHT),
        _stopping("as in the paper", "exits as in the paper", confidence="entropy"),
        _stopping("self-taught", "self-taught exits"),
        _stopping("taught", "taught exits"),
    ),
    paper={"alone": 80, "as in the paper": 75},
    smoke_settings={
        "enlarge": 2,
        "stages": ("teacher", "alone", "taught exits", "taught"),
    },
)
