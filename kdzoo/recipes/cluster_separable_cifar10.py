"""What few values cost: kernels of 16 and of 32 different weights.

kdzoo train cluster_separable_cifar10
"""

from kdzoo.experiments import Compress, Compression, Dependency, Experiment, retraining
from kdzoo.recipes import separable_cifar10

_START = Dependency("distilled")

RECIPE = Experiment(
    name="cluster_separable_cifar10",
    data="cifar10",
    base=separable_cifar10.RECIPE,
    stages=(
        Compress("float32", _START),
        *(
            Compress(
                f"{number} values",
                _START,
                Compression(cluster=number, training=retraining(2, 3e-4)),
            )
            for number in (16, 32)
        ),
    ),
)
