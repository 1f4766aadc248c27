"""What zeros cost: 50, 80 and 90 % of the weights pruned, with and without the teacher.

    kdzoo train prune_separable_cifar10

Depthwise kernels, which TF-MOT prunes not, and biases stay as they are.
"""

from kdzoo.recipes import separable_cifar10
from kdzoo.recipes.compression import Compression
from kdzoo.recipes.compression_comparison import CompressionComparison

RECIPE = CompressionComparison(
    base="separable_cifar10",
    comparison=separable_cifar10.RECIPE,
    start="distilled",
    kinds={
        f"{round(100 * share)} % zeros{', taught' * taught}": Compression(
            prune=share, epochs=5, learning_rate=2e-3, taught=taught
        )
        for share in (0.5, 0.8, 0.9)
        for taught in (False, True)
    },
)
