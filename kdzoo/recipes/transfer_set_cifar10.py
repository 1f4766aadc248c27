"""What a student can be taught on: CIFAR-10, the images of CIFAR-100, or a mix of both.

    kdzoo train transfer_set_cifar10

No student sees a label: the teacher of CIFAR-10 gives soft targets for images of any kind. All
students take the same number of steps, one seed each. CIFAR-100 has none of the ten classes.
"""

from typing import Any

from kdzoo.experiments import Distill, Experiment, Pretrained, Transfer
from kdzoo.recipes.students import AUTO, by_sgd

_TEACHING: dict[str, Any] = {
    "student_loss_weight": 0.0,
    "views": 20,
    "teacher_precision": AUTO,
}
_STUDENT = ("separable_025", by_sgd(20))
_OTHER = ("cifar100",)

RECIPE = Experiment(
    name="transfer_set_cifar10",
    data="cifar10",
    stages=(
        Pretrained("teacher", "wide_resnet_16_4/cifar10"),
        Distill("CIFAR-10", *_STUDENT, **_TEACHING),
        Distill("CIFAR-100", *_STUDENT, transfer=Transfer(others=_OTHER, alone=True), **_TEACHING),
        Distill(
            "half of each",
            *_STUDENT,
            transfer=Transfer(others=_OTHER, weights=(0.5, 0.5)),
            **_TEACHING,
        ),
    ),
    seeds=(0,),
    validation=0,
    smoke_settings={
        "teacher": {"architecture": "mlp_2x64"},
        "stages": ("teacher", "CIFAR-10"),
    },
)
