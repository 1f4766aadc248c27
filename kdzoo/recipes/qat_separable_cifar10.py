"""What 8 bits cost: quantized after training, trained aware of it, and with the teacher.

kdzoo train qat_separable_cifar10
"""

from kdzoo.recipes import separable_cifar10
from kdzoo.recipes.compression import Compression
from kdzoo.recipes.compression_comparison import CompressionComparison

RECIPE = CompressionComparison(
    base="separable_cifar10",
    comparison=separable_cifar10.RECIPE,
    start="distilled",
    kinds={
        "int8 after training": Compression(quantize="int8"),
        "int8 aware": Compression(quantize="qat", epochs=3, learning_rate=3e-4),
        "int8 aware, taught": Compression(
            quantize="qat", epochs=3, learning_rate=3e-4, taught=True
        ),
    },
)
