"""The zoo's separable students on CIFAR-10 made small: int8, and 80 % of the weights zero.

    kdzoo train zoo_cifar10_025_compressed

Their teacher teaches them again, from the one student of each width there is. Three seeds where
making one takes less than half an hour on two cores, else one.
"""

from kdzoo.recipes import zoo_cifar10
from kdzoo.recipes.compression import Compression
from kdzoo.recipes.compression_comparison import CompressionComparison

RECIPES = {
    f"zoo_cifar10_{width}_compressed": CompressionComparison(
        base="zoo_cifar10",
        comparison=zoo_cifar10.RECIPE,
        start=f"separable_{width}, distilled",
        alone=f"separable_{width}, alone",
        kinds={
            "int8": Compression(quantize="qat", taught=True, epochs=3, learning_rate=3e-4),
            "80 % zeros": Compression(prune=0.8, taught=True, epochs=12, learning_rate=3e-3),
        },
        seeds=(0, 1, 2),
        start_seed=0,
        seed_counts={} if width == "025" else {"80 % zeros": 1},
    )
    for width in ("025", "050", "100")
}
