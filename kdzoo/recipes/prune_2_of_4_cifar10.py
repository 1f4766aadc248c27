"""What two zeros in every four weights cost, with and without the teacher.

kdzoo train prune_2_of_4_cifar10
"""

from kdzoo.recipes import separable_cifar10
from kdzoo.recipes.compression import Compression
from kdzoo.recipes.compression_comparison import CompressionComparison

RECIPE = CompressionComparison(
    base="separable_cifar10",
    comparison=separable_cifar10.RECIPE,
    start="distilled",
    kinds={
        "2 of 4 zeros": Compression(prune="2:4", epochs=5, learning_rate=2e-3),
        "2 of 4 zeros, taught": Compression(prune="2:4", epochs=5, learning_rate=2e-3, taught=True),
    },
)
