"""Fewer filters: ResNet-20 and the zoo's widest separable network on CIFAR-10, pruned in steps.

    kdzoo train prune_filters_cifar10

To 2/3, 1/2 and 1/3 of the multiply-accumulates, by DepGraph's group criterion (Fang et al. 2023),
trained on after each step; at 1/2 with and without the unpruned network as the teacher. Beside
them the same small network from new weights: of ResNet-20 at equal compute in all, so that it has
76 epochs for the 30 of the whole network and the 12 of three smaller ones; of the separable
network, whose weights come from the zoo, with as much as the training after the steps. And the
zoo's narrower students. Three seeds at 1/2, one elsewhere. DepGraph, ResNet-56 at 1/2.1: 93.77 %
from 93.53 % by the group criterion, 92.93 % by L1.
"""

from typing import Any

from kdzoo.experiments import (
    Dependency,
    Experiment,
    Pretrained,
    PruneFilters,
    Stage,
    Train,
    Training,
    TrainPruned,
)
from kdzoo.recipes.students import AUTO, by_sgd

_ONE: dict[str, Any] = {"seeds": (0,)}


def _training(epochs: int, learning_rate: float = 0.02) -> Training:
    return Training(epochs, learning_rate, 0.005, "sgd", precision=AUTO)


def _pruned(network: str, steps: int, epochs: int, from_new: int) -> tuple[Stage, ...]:
    """A network at each cost.

    Args:
        network: The stage that has it, whose name the names of the stages begin with.
        steps: In how many steps it is pruned.
        epochs: Epochs of training after each.
        from_new: Epochs of the structure of half the costs from new weights.
    """
    start = Dependency(network, 0)
    fields: dict[str, Any] = {"start": start, "training": _training(epochs), "steps": steps}
    taught: dict[str, Any] = {
        **fields,
        "teacher": start,
        "views": steps * epochs,
        "teacher_precision": AUTO,
    }
    half, seeds = ("target_macs", 0.5), (0, 1, 2)
    return (
        PruneFilters(f"{network}, 2/3", **taught, target=("target_macs", 0.6667), **_ONE),
        PruneFilters(f"{network}, 1/2", **taught, target=half, seeds=seeds),
        PruneFilters(f"{network}, 1/2, labels", **fields, target=half, seeds=seeds),
        PruneFilters(f"{network}, 1/3", **taught, target=("target_macs", 0.3333), **_ONE),
        TrainPruned(
            f"{network}, 1/2, new weights",
            Dependency(f"{network}, 1/2", 0),
            by_sgd(from_new),
            seeds=seeds,
        ),
    )


RECIPE = Experiment(
    name="prune_filters_cifar10",
    data="cifar10",
    stages=(
        Train("resnet_20", "resnet_20", by_sgd(30), seeds=(0,)),
        *_pruned("resnet_20", 3, 4, 30 * 2 + 16),
        Pretrained("separable_100", "separable_100/cifar10", seeds=(0,)),
        *_pruned("separable_100", 2, 2, 6),
        Pretrained("separable_050", "separable_050/cifar10", seeds=(0,)),
        Pretrained("separable_025", "separable_025/cifar10", seeds=(0,)),
    ),
    validation=0,
    smoke_settings={
        "resnet_20": {"architecture": "mlp_2x64"},
        "stages": ("resnet_20", "resnet_20, 1/2", "resnet_20, 1/2, new weights"),
    },
)
