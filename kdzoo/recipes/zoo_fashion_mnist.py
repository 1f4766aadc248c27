"""The zoo's separable students on Fashion-MNIST, distilled and alone.

    kdzoo train zoo_fashion_mnist

The students halve the images first: networks for a phone, and ones that train quickly. One seed of
the widest, which takes a core more than half an hour even in fewer epochs.
"""

from kdzoo.experiments import Experiment, Train, Training
from kdzoo.recipes.students import distilled_and_alone

_TRAINING = {
    "optimizer": "sgd",
    "learning_rate": 0.1,
    "weight_decay": 0.005,
    "precision": "mixed_bfloat16",
}
_HALVED = {
    "arguments": {"halvings": 1},
    "views": 15,
    "teacher_precision": "mixed_bfloat16",
}

RECIPE = Experiment(
    name="zoo_fashion_mnist",
    data="fashion_mnist",
    stages=(
        Train("teacher", "wide_resnet_16_2", Training(25, **_TRAINING), seeds=(0,)),
        *distilled_and_alone("separable_025", Training(40, **_TRAINING), **_HALVED),
        *distilled_and_alone("separable_050", Training(40, **_TRAINING), **_HALVED),
        *distilled_and_alone("separable_100", Training(25, **_TRAINING), **_HALVED, seeds=(0,)),
    ),
    validation=0,
    smoke_settings={
        "teacher": {"architecture": "mlp_2x64"},
        "stages": ("teacher", "separable_025, distilled", "separable_025, alone"),
    },
)
