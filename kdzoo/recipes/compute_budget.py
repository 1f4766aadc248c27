"""FitNets' figure 2: how deep a network of a fixed number of multiplications can be, on CIFAR-10.

    kdzoo train compute_budget

Maxout networks of 3 to 13 layers, all of 30 million multiplications, by backpropagation alone, by
distillation and by hints (Romero et al. 2015, section 4.1); `compute_budget_107m` has networks of
107 million. The paper: at 30 million backpropagation fails beyond 5 layers, distillation beyond 7,
hints train 13; 7 layers have 89.45 % by distillation and 90.1 % by hints; 11 layers are 3.4 points
better than 5 at 30 million and 4.11 at 107 million. It starts from smaller weights, from which
depth is harder to train, and trains until nothing improves. Here it is 15 epochs, of which hints
take three, at 107 million 8, of which they take two, and the teacher is a network of the zoo. The
weight λ of the soft targets falls from 4 to 1, as in the paper, by distillation and after hints
alike; it is one of T² · KL, nine times the paper's. The shallowest network has one wide convolution
of the whole image, which takes about three times as long as the others for as many multiplications.
"""

from typing import Any

from kdzoo.experiments import (
    Distill,
    Experiment,
    HintTraining,
    Pretrained,
    Stage,
    Train,
    Training,
    soft_targets,
)
from kdzoo.recipes.students import AUTO

Units = tuple[tuple[int, ...], ...]

# Layers, those of a maxout layer and the logits included -> units of the convolutions by stage.
OF_30_M: dict[int, Units] = {
    3: ((535,),),
    5: ((32,), (96,), (128,)),
    7: ((20, 20), (48, 48), (116,)),
    11: ((16, 16, 16), (32, 32, 32), (48, 48, 64)),  # FitNet 1
    13: ((14, 14, 14), (28, 28, 28, 28), (44, 44, 48, 60)),
}
OF_107_M: dict[int, Units] = {
    5: ((64,), (176,), (256,)),
    11: ((16, 32, 32), (48, 64, 80), (96, 96, 128)),  # FitNet 2
}
_TEACHING: dict[str, Any] = {
    "losses": soft_targets(3.0),
    "teacher_weight": (4.0, 1.0),
    "teacher_precision": AUTO,
    "seeds": (0,),
}


def _training(epochs: int) -> Training:
    # Of the zoo's FitNet 1, which has no norms.
    return Training(epochs, learning_rate=2e-3, weight_decay=0.2, precision=AUTO)


def _hints(units: Units) -> tuple[str, str]:
    """The hint layer whose maps have the size of the guided layer, the second stage if any."""
    # Its stages but the last are pooled at their end, the teacher's but the first at their start.
    hint = f"stage{min(len(units), 3)}"
    return hint, ("stage2" if len(units) > 1 else "stage1")


def _three_ways(layers: int, units: Units, epochs: int) -> tuple[Stage, ...]:
    """A network by backpropagation, by distillation and by hints, all for as many epochs."""
    network: dict[str, Any] = {"architecture": "fitnet_1", "arguments": {"stages": units}}
    of_hints = round(epochs / 5)
    return (
        Train(f"{layers} layers, alone", **network, training=_training(epochs), seeds=(0,)),
        Distill(
            f"{layers} layers, distilled",
            **network,
            training=_training(epochs),
            views=epochs,
            **_TEACHING,
        ),
        HintTraining(
            f"{layers} layers, hints",
            **network,
            training=_training(epochs - of_hints),
            hints=(*_hints(units), of_hints),
            **_TEACHING,
        ),
    )


def _recipe(
    name: str, networks: dict[int, Units], epochs: int, paper: dict[str, int]
) -> Experiment:
    deepest = max(networks)
    ways = ("alone", "distilled", "hints")
    return Experiment(
        name=name,
        data="cifar10",
        stages=(
            Pretrained("teacher", "separable_050/cifar10", seeds=(0,)),
            *(
                stage
                for layers, units in networks.items()
                for stage in _three_ways(layers, units, epochs)
            ),
        ),
        validation=0,
        paper=paper,
        smoke_settings={
            "stages": ("teacher", *(f"{deepest} layers, {way}" for way in ways)),
        },
    )


BUDGET_30_M = _recipe(
    "compute_budget", OF_30_M, 15, {"7 layers, distilled": 1055, "7 layers, hints": 990}
)
BUDGET_107_M = _recipe("compute_budget_107m", OF_107_M, 8, {})
