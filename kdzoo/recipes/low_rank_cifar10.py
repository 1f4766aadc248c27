"""What a low rank costs on CIFAR-10: FitNet 1 of the zoo at several sizes.

    kdzoo train low_rank_cifar10

Each convolution is split in the way that needs the fewest parameters, and the network trained on
with the unfactorized one as its teacher; at half the size also by the labels alone.
"""

from typing import Any

from kdzoo.experiments import Dependency, Experiment, Factorize, Pretrained, retraining

_START = Dependency("unfactorized", 0)
_TRAINING = retraining(8, 2e-3, precision="auto")
_TEACHING: dict[str, Any] = {"teacher": _START, "views": 8, "teacher_precision": "auto"}

RECIPE = Experiment(
    name="low_rank_cifar10",
    data="cifar10",
    stages=(
        Pretrained("unfactorized", "fitnet_1/cifar10", seeds=(0,)),
        *(
            Factorize(
                f"{ratio:.0%} of it".replace("%", " %"),
                _START,
                ratio,
                training=_TRAINING,
                seeds=None if ratio == 0.5 else (0,),
                **_TEACHING,
            )
            for ratio in (0.75, 0.5, 0.35, 0.25)
        ),
        Factorize("50 % of it, by labels", _START, 0.5, training=_TRAINING),
    ),
    validation=0,
    smoke_settings={
        "enlarge": 2,
        "stages": ("unfactorized", "75 % of it", "50 % of it, by labels"),
    },
)
