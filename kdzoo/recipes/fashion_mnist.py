"""A separable network of 58k parameters learns Fashion-MNIST from a wide residual network.

    kdzoo train fashion_mnist

Some 40 minutes on two cores. Alone 89.33 %, distilled 90.69 % of the test images, three seeds.
"""

from kdzoo.experiments import Distill, Experiment, Train, Training

# 14x14 in the first stage: a network for a phone, and one that two cores can train. It learns from
# the teacher what shifts do not change, so it sees the images as they are.
STUDENT = ("separable_025", Training(epochs=12, augmentation=None), {"halvings": 1})

RECIPE = Experiment(
    name="fashion_mnist",
    data="fashion_mnist",
    stages=(
        Train("teacher", "wide_resnet_16_1", Training(8, learning_rate=2e-3), seeds=(0,)),
        Train("alone", *STUDENT),
        Distill("distilled", *STUDENT),
    ),
)
