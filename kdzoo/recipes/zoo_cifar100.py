"""The zoo's student on CIFAR-100: a ResNet-20, distilled from a WRN-16-2 and alone.

    kdzoo train zoo_cifar100

The one pair whose training two cores can afford. What papers report is after 240 epochs: 73.26 of a
WRN-16-2, 69.06 of a ResNet-20 alone and 70.66 with the soft targets of a ResNet-56 (Tian et al.
2020, table 1). The soft targets fade out over the epochs, so that the labels have the last word.
"""

from kdzoo.experiments import Distill, Experiment, Train, Training

_TRAINING = {
    "optimizer": "sgd",
    "learning_rate": 0.1,
    "weight_decay": 0.005,
    "precision": "mixed_bfloat16",
}
_STUDENT = ("resnet_20", Training(epochs=40, **_TRAINING))

RECIPE = Experiment(
    name="zoo_cifar100",
    data="cifar100",
    stages=(
        Train("teacher", "wide_resnet_16_2", Training(epochs=30, **_TRAINING), seeds=(0,)),
        Distill(
            "resnet_20, distilled",
            *_STUDENT,
            student_loss_weight=0.5,
            teacher_weight=(2.0, 0.0),
            views=10,
            teacher_precision="mixed_bfloat16",
        ),
        Train("resnet_20, alone", *_STUDENT),
    ),
    seeds=(0,),
    validation=0,
    smoke_settings={"teacher": {"architecture": "mlp_2x64"}},
)
