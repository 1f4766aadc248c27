"""What few values cost: kernels of 16 and of 32 different weights.

    kdzoo train cluster_separable_cifar10

It starts from the student of the zoo, so nothing else has to be trained before.
"""

from kdzoo.experiments import Compress, Compression, Dependency, Experiment, Pretrained, retraining

_START = Dependency("student", 0)

RECIPE = Experiment(
    name="cluster_separable_cifar10",
    data="cifar10",
    stages=(
        Pretrained("student", "separable_025/cifar10", seeds=(0,)),
        Compress("float32", _START, seeds=(0,)),
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
