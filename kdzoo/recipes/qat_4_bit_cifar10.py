"""What kernels of 4 bits cost, trained aware of it, beside 8: size, accuracy, and latency of files.

    kdzoo train qat_4_bit_cifar10

It starts from the student of the zoo, which teaches meanwhile, so nothing else has to be trained
before. About an hour and a half on two cores.
"""

from kdzoo.experiments import Compress, Compression, Dependency, Experiment, Pretrained, retraining

_START = Dependency("student", 0)
_EIGHT = Compression(quantize="qat", training=retraining(3, 3e-4))
_FOUR = Compression(quantize="qat", training=retraining(5, 1e-3), weight_bits=4)

RECIPE = Experiment(
    name="qat_4_bit_cifar10",
    data="cifar10",
    stages=(
        Pretrained("student", "separable_050/cifar10", seeds=(0,)),
        Compress("float32", _START, seeds=(0,)),
        Compress("int8", _START, _EIGHT, teacher=_START, seeds=(0,)),
        Compress("4 bits", _START, _FOUR, teacher=_START),
        Compress("4 bits, by labels", _START, _FOUR, seeds=(0,)),
    ),
)
