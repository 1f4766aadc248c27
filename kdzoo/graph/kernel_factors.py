"""Kernels as products of smaller ones, fitted by singular values, and the products multiplied out.

All is NumPy in float64. Kernels are those of Keras: (inputs, outputs) of a dense layer, (height,
width, inputs, outputs) of a convolution.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from kdzoo.graph.noise_ranks import rank_above_noise

Rank = int | tuple[int, int]

_ROUNDING = 1e-13  # The energy of float32's rounding, which no rank has to keep.
_SWEEPS = 5  # Of the orthogonal iteration; after three the error hardly falls any more.


class KernelFactors(Protocol):
    """A kernel that can be cut to any rank.

    Attributes:
        method: By which it is cut: `"svd"`, `"spatial"`, `"channel"` or `"tucker"`.
    """

    method: str

    def rank_of(self, number: int) -> Rank:
        """Returns the rank nearest to a number that the kernel can be cut to."""

    def rank_for(self, energy: float) -> Rank:
        """Returns the smallest rank that keeps a fraction of the sum of squares."""

    def rank_above_noise(self) -> Rank:
        """Returns the rank that empirical variational Bayes finds."""

    def parameters(self, rank: Rank) -> int:
        """Returns how many numbers the factors of a rank have."""

    def error(self, rank: Rank) -> float:
        """Returns the norm of what a rank loses over the norm of the kernel."""

    def kernels(self, rank: Rank) -> tuple[np.ndarray, ...]:
        """Returns the factors, each a kernel, in the order in which layers apply them."""


class MatrixFactors:
    """The singular value decomposition of a kernel that is seen as a matrix.

    Args:
        kernel: The kernel.
        method: How a matrix of M · N is made of it: `"svd"`, as a dense layer's is; `"spatial"`,
            height · inputs by width · outputs; `"channel"`, height · width · inputs by outputs.
    """

    def __init__(self, kernel: np.ndarray, method: str) -> None:
        self.method, self._shape = method, kernel.shape
        matrix = kernel.astype("float64")
        if method == "spatial":
            height, width, inputs, outputs = kernel.shape
            matrix = matrix.transpose(0, 2, 1, 3).reshape(height * inputs, width * outputs)
        elif method == "channel":
            matrix = matrix.reshape(-1, kernel.shape[-1])
        # The vectors of the shorter side are all that a projection needs, and quicker found.
        self._matrix, self._shorter = matrix, int(matrix.shape[1] <= matrix.shape[0])
        self._squares, self._vectors = _principal(matrix, self._shorter)

    def rank_of(self, number: int) -> int:
        """Returns the number, or the full rank where that is smaller."""
        return min(number, len(self._squares))

    def rank_for(self, energy: float) -> int:
        """Returns the smallest rank that keeps a fraction of the sum of squares."""
        return _first_that_keeps(self._squares, energy)

    def rank_above_noise(self) -> int:
        """Returns the rank that empirical variational Bayes finds."""
        return rank_above_noise(self._squares, self._matrix.shape)

    def parameters(self, rank: Rank) -> int:
        """Returns (M + N) · rank."""
        assert isinstance(rank, int)
        return sum(self._matrix.shape) * rank

    def error(self, rank: Rank) -> float:
        """Returns the norm of the singular values from the rank on over that of all."""
        assert isinstance(rank, int)
        return _relative(self._squares[rank:].sum(), self._squares.sum())

    def kernels(self, rank: Rank) -> tuple[np.ndarray, ...]:
        """Returns the two factors; the root of each singular value goes to either."""
        assert isinstance(rank, int)
        basis, root = self._vectors[:, :rank], self._squares[:rank] ** 0.25
        root = np.where(root, root, 1)
        if self._shorter:
            left, right = self._matrix @ basis / root, root[:, None] * basis.T
        else:
            left, right = basis * root, basis.T @ self._matrix / root[:, None]
        if self.method == "svd":
            return left, right
        height, width, inputs, outputs = self._shape
        if self.method == "channel":
            return left.reshape(height, width, inputs, rank), right[None, None]
        right = right.reshape(rank, width, outputs).transpose(1, 0, 2)[None]
        return left.reshape(height, 1, inputs, rank), right


class TuckerFactors:
    """The Tucker-2 decomposition of a convolution's kernel, over its inputs and its outputs.

    It begins with the higher-order singular value decomposition, and goes on by orthogonal
    iteration.

    Args:
        kernel: The kernel, (height, width, inputs, outputs).
    """

    method = "tucker"

    def __init__(self, kernel: np.ndarray) -> None:
        self._kernel = kernel.astype("float64")
        self._of_inputs, _ = _principal(self._kernel, 2)
        self._of_outputs, self._first = _principal(self._kernel, 3)
        self._found: dict[Rank, tuple[np.ndarray, ...]] = {}  # Error and kernels want the same.

    def rank_of(self, number: int) -> tuple[int, int]:
        """Returns the number for inputs and outputs, or how many there are where that is less."""
        return min(number, len(self._of_inputs)), min(number, len(self._of_outputs))

    def rank_for(self, energy: float) -> tuple[int, int]:
        """Returns ranks of which either loses half of what may be lost."""
        kept = 1 - (1 - energy) / 2
        return _first_that_keeps(self._of_inputs, kept), _first_that_keeps(self._of_outputs, kept)

    def rank_above_noise(self) -> tuple[int, int]:
        """Returns the ranks that empirical variational Bayes finds, of inputs and of outputs."""
        sides = [(side, self._kernel.size // side) for side in self._kernel.shape[2:]]
        inputs, outputs = (
            rank_above_noise(squares, shape)
            for squares, shape in zip((self._of_inputs, self._of_outputs), sides, strict=True)
        )
        return inputs, outputs

    def parameters(self, rank: Rank) -> int:
        """Returns how many numbers the three factors have."""
        assert isinstance(rank, tuple)
        height, width, inputs, outputs = self._kernel.shape
        return inputs * rank[0] + height * width * rank[0] * rank[1] + rank[1] * outputs

    def error(self, rank: Rank) -> float:
        """Returns the norm of what a rank loses over the norm of the kernel."""
        lost = self._kernel - product_of(self.kernels(rank))
        return _relative((lost**2).sum(), (self._kernel**2).sum())

    def kernels(self, rank: Rank) -> tuple[np.ndarray, ...]:
        """Returns the 1 × 1 kernel to fewer inputs, the core, and the 1 × 1 one to the outputs."""
        assert isinstance(rank, tuple)
        if rank not in self._found:
            self._found = {rank: self._kernels(rank)}
        return self._found[rank]

    def _kernels(self, rank):
        outer = self._first[:, : rank[1]]
        for _ in range(_SWEEPS):
            _, vectors = _principal(np.tensordot(self._kernel, outer, (3, 0)), 2)
            inner = vectors[:, : rank[0]]
            _, vectors = _principal(np.tensordot(self._kernel, inner, (2, 0)), 2)
            outer = vectors[:, : rank[1]]
        core = np.tensordot(np.tensordot(self._kernel, inner, (2, 0)), outer, (2, 0))
        return inner[None, None], core, outer.T[None, None]


def product_of(kernels: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the kernel of one layer that computes what several do one after the other.

    Args:
        kernels: Kernels of dense layers, or of convolutions of which along either axis one at most
            is larger than 1.
    """
    product, *others = kernels
    for kernel in others:
        if kernel.ndim == 2:
            product = product @ kernel
            continue
        sides = np.multiply(product.shape[:2], kernel.shape[:2])
        pairs = np.tensordot(product, kernel, (3, 2)).transpose(0, 3, 1, 4, 2, 5)
        product = pairs.reshape(*sides, product.shape[2], kernel.shape[3])
    return product


def separable_kernels(kernel: np.ndarray, multiplier: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Returns the depthwise-separable convolution that is nearest to a convolution.

    Of each input channel the kernel, height · width by outputs, is cut to a rank, which is the
    least-squares solution: the channels do not meet before they are summed.

    Args:
        kernel: The kernel, (height, width, inputs, outputs).
        multiplier: The rank, at most height · width and outputs.

    Returns:
        The depthwise kernel (height, width, inputs, multiplier), the pointwise one
        (1, 1, inputs · multiplier, outputs), and the norm of what is lost over that of the kernel.
    """
    height, width, inputs, outputs = kernel.shape
    channels = kernel.astype("float64").transpose(2, 0, 1, 3).reshape(inputs, -1, outputs)
    left, values, right = np.linalg.svd(channels, full_matrices=False)
    root = np.sqrt(values[:, :multiplier])
    depthwise = (left[:, :, :multiplier] * root[:, None]).reshape(inputs, height, width, multiplier)
    pointwise = (root[:, :, None] * right[:, :multiplier]).reshape(1, 1, -1, outputs)
    error = _relative((values[:, multiplier:] ** 2).sum(), (values**2).sum())
    return depthwise.transpose(1, 2, 0, 3), pointwise, error


def _principal(tensor, axis):
    """The squares of an axis's singular values, largest first, and all its singular vectors."""
    unfolded = np.moveaxis(tensor, axis, 0).reshape(tensor.shape[axis], -1)
    squares, vectors = np.linalg.eigh(unfolded @ unfolded.T)
    return np.maximum(squares[::-1], 0), vectors[:, ::-1]


def _first_that_keeps(squares, energy):
    """How many of some squares, largest first, are a fraction of their sum."""
    kept = np.cumsum(squares)
    wanted = (energy - _ROUNDING) * kept[-1]
    return min(int(np.searchsorted(kept, wanted)) + 1, len(squares))


def _relative(lost, whole):
    return float(np.sqrt(lost / whole)) if whole else 0.0
