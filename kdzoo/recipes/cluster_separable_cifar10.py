"""What few values cost: kernels of 16 and of 32 different weights.

kdzoo train cluster_separable_cifar10
"""

from kdzoo.recipes import separable_cifar10
from kdzoo.recipes.compression import Compression
from kdzoo.recipes.compression_comparison import CompressionComparison

RECIPE = CompressionComparison(
    base="separable_cifar10",
    comparison=separable_cifar10.RECIPE,
    start="distilled",
    kinds={
        f"{number} values": Compression(cluster=number, epochs=2, learning_rate=3e-4)
        for number in (16, 32)
    },
)
