"""The zoo's students on CIFAR-10, distilled from a WRN-16-4 and alone.

    kdzoo train zoo_cifar10

Three seeds of FitNet 1, one of the others, which take a core an hour and more. The optimizers
were chosen on held-out images, `benchmarks/optimizers.py`: with that of the others FitNet 1,
without batch normalization, diverges.
"""

from kdzoo.experiments import Experiment, Train, Training
from kdzoo.recipes.students import distilled_and_alone

VIEWS, TEACHER_PRECISION = 20, "mixed_bfloat16"
_SGD = {"optimizer": "sgd", "learning_rate": 0.1, "weight_decay": 0.005}
_HALF = {"precision": "mixed_bfloat16"}
_TEACHING = {"views": VIEWS, "teacher_precision": TEACHER_PRECISION}
_FITNET = Training(50, optimizer="adamw", learning_rate=2e-3, weight_decay=0.2, **_HALF)
_USUAL, _WIDEST = Training(60, **_SGD, **_HALF), Training(20, **_SGD, **_HALF)
_ONE = {"seeds": (0,), **_TEACHING}

RECIPE = Experiment(
    name="zoo_cifar10",
    data="cifar10",
    stages=(
        Train(
            "teacher",
            "wide_resnet_16_4",
            Training(50, **_SGD, **_HALF, augmentation={"shift": 4, "flip": True, "cutout": 8}),
            seeds=(0,),
        ),
        *distilled_and_alone("fitnet_1", _FITNET, **_TEACHING),
        *distilled_and_alone("wide_resnet_16_1", _USUAL, **_ONE),
        *distilled_and_alone("separable_025", _USUAL, **_ONE),
        *distilled_and_alone("separable_050", _USUAL, **_ONE),
        *distilled_and_alone("separable_100", _WIDEST, **_ONE),
    ),
    validation=0,
    smoke_settings={
        "teacher": {"architecture": "mlp_2x64"},
        "stages": ("teacher", "fitnet_1, distilled", "fitnet_1, alone"),
    },
)
