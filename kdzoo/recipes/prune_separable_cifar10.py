"""What zeros cost: 50, 80 and 90 % of the weights pruned, with and without the teacher.

    kdzoo train prune_separable_cifar10

Depthwise kernels, which TF-MOT prunes not, and biases stay as they are. 80 % are given a longer
training than the others: after 5 epochs the first seed was 3.1 points below the dense student on
the validation images. The dense student is not trained on.
"""

from kdzoo.recipes import separable_cifar10
from kdzoo.recipes.compression import Compression
from kdzoo.recipes.compression_comparison import CompressionComparison

_TRAININGS = {  # Share of zeros -> epochs, initial learning rate.
    0.5: (5, 2e-3),
    0.8: (12, 3e-3),
    0.9: (5, 2e-3),
}

RECIPE = CompressionComparison(
    base="separable_cifar10",
    comparison=separable_cifar10.RECIPE,
    start="distilled",
    kinds={
        f"{round(100 * share)} % zeros{', taught' * taught}": Compression(
            prune=share, epochs=epochs, learning_rate=rate, taught=taught
        )
        for share, (epochs, rate) in _TRAININGS.items()
        for taught in (False, True)
    },
)
