"""The zoo's student on CIFAR-100: a ResNet-20, distilled from a WRN-16-2 and alone.

    kdzoo train zoo_cifar100

The one pair whose training two cores can afford. What papers report is after 240 epochs: 73.26 of a
WRN-16-2, 69.06 of a ResNet-20 alone and 70.66 with the soft targets of a ResNet-56 (Tian et al.
2020, table 1). The soft targets fade out over the epochs, so that the labels have the last word.
"""

from kdzoo.recipes.comparison import Comparison
from kdzoo.recipes.student import Student

_SOFT_TARGETS = (("SoftTargets", {"temperature": 4.0}, 1.0),)

RECIPE = Comparison(
    data="cifar100",
    teacher="wide_resnet_16_2",
    student="resnet_20",
    students={
        "resnet_20, distilled": Student(
            _SOFT_TARGETS, student_loss_weight=0.5, teacher_weight=(2.0, 0.0)
        ),
        "resnet_20, alone": Student(),
    },
    teacher_epochs=30,
    epochs=40,
    seeds=(0,),
    views=10,
    optimizer="sgd",
    learning_rate=0.1,
    weight_decay=0.005,
    validation=0,
    precision="mixed_bfloat16",
    teacher_optimizer="sgd",
    teacher_learning_rate=0.1,
    smoke_settings={"teacher": "mlp_2x64"},
)
