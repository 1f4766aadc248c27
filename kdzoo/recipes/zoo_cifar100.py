"""The zoo's student on CIFAR-100: a ResNet-20, distilled from a WRN-16-2 and alone.

    kdzoo train zoo_cifar100

The one pair whose training two cores can afford. What papers report is after 240 epochs: 73.26 of a
WRN-16-2, 69.06 of a ResNet-20 alone and 70.66 with the soft targets of a ResNet-56 (Tian et al.
2020, table 1). The soft targets fade out over the epochs, so that the labels have the last word.
"""

from kdzoo.experiments import Distill, Experiment, Train
from kdzoo.recipes.students import AUTO, by_sgd

STUDENT = ("resnet_20", by_sgd(40))

RECIPE = Experiment(
    name="zoo_cifar100",
    data="cifar100",
    stages=(
        Train("teacher", "wide_resnet_16_2", by_sgd(30), seeds=(0,)),
        Distill(
            "resnet_20, distilled",
            *STUDENT,
            student_loss_weight=0.5,
            teacher_weight=(2.0, 0.0),
            views=10,
            teacher_precision=AUTO,
        ),
        Train("resnet_20, alone", *STUDENT),
    ),
    seeds=(0,),
    validation=0,
    smoke_settings={"teacher": {"architecture": "mlp_2x64"}},
)
