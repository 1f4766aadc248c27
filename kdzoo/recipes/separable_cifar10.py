"""A small separable network on CIFAR-10, distilled; what the recipes of compression start from.

    kdzoo train separable_cifar10

Teacher and budget are what two cores can run, not the best there is.
"""

from kdzoo.experiments import Distill, Experiment, Train, Training

TEACHER = Train(
    "teacher",
    "wide_resnet_16_1",
    Training(epochs=15, learning_rate=2e-3, precision="auto"),
    seeds=(0,),
)

RECIPE = Experiment(
    name="separable_cifar10",
    data="cifar10",
    stages=(
        TEACHER,
        Distill("distilled", "separable_025", Training(epochs=20), teacher_precision="auto"),
    ),
    smoke_settings={"teacher": {"arguments": {"depth": 10}}},
)
