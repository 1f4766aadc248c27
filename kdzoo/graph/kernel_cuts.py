"""A layer's kernel cut to a rank, in the way that suits best, and the energy that fits a size."""

import dataclasses
from collections.abc import Callable

import keras

from kdzoo.graph.kernel_factors import KernelFactors, MatrixFactors, Rank, TuckerFactors

OF_CONVOLUTIONS = ("channel", "spatial", "tucker")
"""The ways to cut the kernel of a convolution; of equal ones the first is taken."""

_HALVINGS = 40


@dataclasses.dataclass(frozen=True)
class Cut:
    """A kernel's factors at a rank.

    Attributes:
        factors: The factors at any rank.
        rank: The rank.
    """

    factors: KernelFactors
    rank: Rank

    @property
    def parameters(self) -> int:
        """How many numbers the factors have."""
        return self.factors.parameters(self.rank)


class KernelCuts:
    """A layer's kernel, and the ways in which it may be cut.

    Args:
        layer: A dense layer or a convolution.
        method: How the kernel of a convolution is cut, or `"auto"`.
    """

    def __init__(self, layer: keras.layers.Layer, method: str) -> None:
        kernel = keras.ops.convert_to_numpy(layer.kernel)
        self.size = int(kernel.size)
        methods = [method] if kernel.ndim == 4 else ["svd"]
        if methods == ["auto"]:  # Of 1 × 1 the others are the same product, or a larger one.
            is_pointwise = kernel.shape[:2] == (1, 1)
            methods = ["channel"] if is_pointwise else [*OF_CONVOLUTIONS]
        self._ways: list[KernelFactors] = [
            TuckerFactors(kernel) if way == "tucker" else MatrixFactors(kernel, way)
            for way in methods
        ]

    def at_energy(self, energy: float) -> Cut:
        """Returns the cut of the fewest parameters that keeps a fraction of the sum of squares."""
        cuts = [Cut(way, way.rank_for(energy)) for way in self._ways]
        return min(cuts, key=lambda cut: cut.parameters)

    def above_noise(self) -> Cut:
        """Returns the cut of the fewest parameters that keeps what is no noise."""
        cuts = [Cut(way, way.rank_above_noise()) for way in self._ways]
        return min(cuts, key=lambda cut: cut.parameters)

    def at_rank(self, number: int) -> Cut:
        """Returns the cut of the smallest error, of those that are smaller if any is."""
        cuts = [Cut(way, way.rank_of(number)) for way in self._ways]
        smaller = [cut for cut in cuts if cut.parameters < self.size]
        return min(smaller or cuts, key=lambda cut: cut.factors.error(cut.rank))


def energy_for(size: Callable[[float], int], most: float) -> float:
    """Returns the highest energy at which a model has so many parameters at most.

    Args:
        size: Function of the energy to the parameters, which rises.
        most: The largest size, at least `size(0)`.
    """
    low, high = 0.0, 1.0
    if size(high) <= most:
        return high
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if size(middle) <= most else (low, middle)
    return low
