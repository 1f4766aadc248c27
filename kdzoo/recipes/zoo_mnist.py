"""The zoo's students on MNIST beside those of the papers: both LeNets and a separable network.

    kdzoo train zoo_mnist

The separable network halves the images first: a network for a phone, and one that trains quickly.
"""

from typing import Any

from kdzoo.experiments import Experiment, Train, Training
from kdzoo.recipes.students import AUTO, distilled_and_alone

_STUDENT = Training(epochs=30, precision=AUTO)
_TEACHING: dict[str, Any] = {"views": 10, "teacher_precision": AUTO}

RECIPE = Experiment(
    name="zoo_mnist",
    data="mnist",
    stages=(
        Train(
            "teacher",
            "wide_resnet_16_1",
            Training(epochs=15, learning_rate=2e-3, precision=AUTO),
            seeds=(0,),
        ),
        *distilled_and_alone("lenet_300_100", _STUDENT, **_TEACHING),
        *distilled_and_alone("lenet_5", _STUDENT, **_TEACHING),
        *distilled_and_alone("separable_025", _STUDENT, arguments={"halvings": 1}, **_TEACHING),
    ),
    validation=0,
    smoke_settings={
        "teacher": {"architecture": "mlp_2x64"},
        "stages": ("teacher", "lenet_300_100, distilled", "lenet_300_100, alone"),
    },
)
