"""What two zeros in every four weights cost, with and without the teacher.

kdzoo train prune_2_of_4_cifar10
"""

from kdzoo.experiments import Compress, Compression, Dependency, Experiment, retraining
from kdzoo.recipes import separable_cifar10

_START, _TEACHER = Dependency("distilled"), Dependency("teacher", 0)
_TWO_OF_FOUR = Compression(prune="2:4", training=retraining(5, 2e-3))

RECIPE = Experiment(
    name="prune_2_of_4_cifar10",
    data="cifar10",
    base=separable_cifar10.RECIPE,
    stages=(
        Compress("float32", _START),
        Compress("2 of 4 zeros", _START, _TWO_OF_FOUR),
        Compress("2 of 4 zeros, taught", _START, _TWO_OF_FOUR, teacher=_TEACHER),
    ),
)
