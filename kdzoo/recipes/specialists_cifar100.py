"""Hinton, Vinyals & Dean 2015, section 5: specialists for classes that a generalist confuses.

    kdzoo train specialists_cifar100

The generalist is the zoo's ResNet-20. Its specialists have ten clusters of classes, found from what
it predicts, or CIFAR-100's own twenty groups; each trains for an epoch, in which half of the images
are of its classes. One student learns from generalist and specialists, another from the generalist
alone. The paper, on 100 million images of 15,000 classes: 25.0 % right without specialists, 26.1 %
with 61 of them.
"""

from kdzoo.experiments import Dependency, Distill, Experiment, Pretrained, Specialists, Training
from kdzoo.recipes.students import by_sgd

# Of each class its group, in the order of CIFAR-100's names of both.
_GROUPS = (
    *(4, 1, 14, 8, 0, 6, 7, 7, 18, 3, 3, 14, 9, 18, 7, 11, 3, 9, 7, 11),
    *(6, 11, 5, 10, 7, 6, 13, 15, 3, 15, 0, 11, 1, 10, 12, 14, 16, 9, 11, 5),
    *(5, 19, 8, 8, 15, 13, 14, 17, 18, 10, 16, 4, 17, 4, 2, 0, 17, 4, 18, 17),
    *(10, 3, 2, 12, 12, 16, 12, 1, 9, 19, 2, 10, 0, 1, 16, 12, 9, 13, 15, 13),
    *(16, 19, 2, 4, 6, 19, 5, 5, 8, 19, 18, 1, 2, 15, 6, 0, 17, 8, 14, 13),
)
COARSE = tuple(
    tuple(label for label, its_group in enumerate(_GROUPS) if its_group == group)
    for group in range(20)
)
_GENERALIST = Dependency("generalist", 0)
_SPECIALIST = Training(1, 0.01, 0.005, "sgd")
_STUDENT = ("resnet_20", by_sgd(10))

RECIPE = Experiment(
    name="specialists_cifar100",
    data="cifar100",
    stages=(
        Pretrained("generalist", "resnet_20/cifar100"),
        Specialists("ten clusters", _GENERALIST, _SPECIALIST, clusters=10),
        Specialists("twenty groups", _GENERALIST, _SPECIALIST, classes=COARSE),
        Distill("student of the generalist", *_STUDENT, teacher=_GENERALIST, views=5),
        Distill("student of ten clusters", *_STUDENT, teacher=Dependency("ten clusters"), views=5),
    ),
    seeds=(0,),
    validation=0,
    smoke_settings={"generalist": {"architecture": "mlp_2x64"}},
)
