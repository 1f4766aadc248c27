"""Zhang et al. 2018: two ResNet-20 learn CIFAR-100 from labels and from each other.

    kdzoo train mutual_learning_cifar100

The same network alone, trained just so, is the row "resnet_20, alone" of `zoo_cifar100`. The paper
has 68.99 % of a ResNet-32 alone and 71.19 % of two that learn together, after 200 epochs. Each step
trains both; the row has the accuracies of both.
"""

from kdzoo.experiments import Experiment, MutualLearning
from kdzoo.recipes.zoo_cifar100 import STUDENT

RECIPE = Experiment(
    name="mutual_learning_cifar100",
    data="cifar100",
    stages=(MutualLearning("two peers", *STUDENT, peers=((STUDENT[0], {}),)),),
    seeds=(0,),
    validation=0,
)
