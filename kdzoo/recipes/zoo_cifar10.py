"""The zoo's students on CIFAR-10, distilled from a WRN-16-4 and alone.

    kdzoo train zoo_cifar10

Three seeds of FitNet 1, one of the others, which take a core an hour and more. The optimizers
were chosen on held-out images, `benchmarks/optimizers.py`: with that of the others FitNet 1,
without batch normalization, diverges.
"""

from typing import Any

from kdzoo.experiments import Experiment, Train, Training
from kdzoo.recipes.students import AUTO, by_sgd, distilled_and_alone

TEACHING: dict[str, Any] = {"views": 20, "teacher_precision": AUTO}
_FITNET = Training(50, learning_rate=2e-3, weight_decay=0.2, precision=AUTO)
_ONE: dict[str, Any] = {"seeds": (0,), **TEACHING}

RECIPE = Experiment(
    name="zoo_cifar10",
    data="cifar10",
    stages=(
        Train(
            "teacher",
            "wide_resnet_16_4",
            by_sgd(50, {"shift": 4, "flip": True, "cutout": 8}),
            seeds=(0,),
        ),
        *distilled_and_alone("fitnet_1", _FITNET, **TEACHING),
        *distilled_and_alone("wide_resnet_16_1", by_sgd(60), **_ONE),
        *distilled_and_alone("separable_025", by_sgd(60), **_ONE),
        *distilled_and_alone("separable_050", by_sgd(60), **_ONE),
        *distilled_and_alone("separable_100", by_sgd(20), **_ONE),
    ),
    validation=0,
    smoke_settings={
        "teacher": {"architecture": "mlp_2x64"},
        "stages": ("teacher", "fitnet_1, distilled", "fitnet_1, alone"),
    },
)
