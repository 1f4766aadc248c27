"""The zoo's separable students on Fashion-MNIST, distilled and alone.

    kdzoo train zoo_fashion_mnist

The students halve the images first: networks for a phone, and ones that train quickly. One seed of
the widest, which takes a core more than half an hour even in fewer epochs.
"""

from typing import Any

from kdzoo.experiments import Experiment, Train
from kdzoo.recipes.students import AUTO, by_sgd, distilled_and_alone

_HALVED: dict[str, Any] = {"arguments": {"halvings": 1}, "views": 15, "teacher_precision": AUTO}

RECIPE = Experiment(
    name="zoo_fashion_mnist",
    data="fashion_mnist",
    stages=(
        Train("teacher", "wide_resnet_16_2", by_sgd(25), seeds=(0,)),
        *distilled_and_alone("separable_025", by_sgd(40), **_HALVED),
        *distilled_and_alone("separable_050", by_sgd(40), **_HALVED),
        *distilled_and_alone("separable_100", by_sgd(25), **_HALVED, seeds=(0,)),
    ),
    validation=0,
    smoke_settings={
        "teacher": {"architecture": "mlp_2x64"},
        "stages": ("teacher", "separable_025, distilled", "separable_025, alone"),
    },
)
