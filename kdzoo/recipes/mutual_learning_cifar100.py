"""Zhang et al. 2018: two ResNet-20 learn CIFAR-100 from labels and from each other.

    kdzoo train mutual_learning_cifar100

"alone" is the first of the two, trained just so without the other. The paper has 68.99 % of a
ResNet-32 alone and 71.19 % of two that learn together, after 200 epochs. Each step of the two
trains both; their row has the accuracies of both.
"""

from kdzoo.experiments import Experiment, MutualLearning, Train
from kdzoo.recipes.zoo_cifar100 import STUDENT

RECIPE = Experiment(
    name="mutual_learning_cifar100",
    data="cifar100",
    stages=(
        Train("alone", *STUDENT),
        MutualLearning("two peers", *STUDENT, peers=((STUDENT[0], {}),)),
    ),
    seeds=(0,),
    validation=0,
)
