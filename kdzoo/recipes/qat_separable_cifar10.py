"""What 8 bits cost: quantized after training, trained aware of it, and with the teacher.

kdzoo train qat_separable_cifar10
"""

from kdzoo.experiments import Compress, Compression, Dependency, Experiment, retraining
from kdzoo.recipes import separable_cifar10

_START, _TEACHER = Dependency("distilled"), Dependency("teacher", 0)
_AWARE = Compression(quantize="qat", training=retraining(3, 3e-4))

RECIPE = Experiment(
    name="qat_separable_cifar10",
    data="cifar10",
    base=separable_cifar10.RECIPE,
    stages=(
        Compress("float32", _START),
        Compress("int8 after training", _START, Compression(quantize="int8")),
        Compress("int8 aware", _START, _AWARE),
        Compress("int8 aware, taught", _START, _AWARE, teacher=_TEACHER),
    ),
)
