"""The rank of a matrix that is seen through noise, by empirical variational Bayes."""

import numpy as np

_STEPS = 100  # Of the golden section, after which float64 has no digits left.
_GOLDEN = (5**0.5 - 1) / 2


def rank_above_noise(squares: np.ndarray, sides: tuple[int, int]) -> int:
    """Returns how many singular values of a matrix stand out of Gaussian noise, at least 1.

    The matrix is taken for one of a low rank and noise of an unknown variance, which is the one
    that minimizes the free energy of empirical variational Bayesian matrix factorization; the
    singular values that its analytic solution keeps are counted.

    Args:
        squares: The squares of all singular values of the shorter side, largest first.
        sides: The two sides of the matrix.

    Reference: Nakajima, Sugiyama, Babacan & Tomioka, "Global analytic solution of fully-observed
    variational Bayesian matrix factorization", 2013, JMLR 14, theorem 2 and corollary 1.
    """
    short, long = min(sides), max(sides)
    squares = np.asarray(squares, "float64")[:short]
    if short < 2 or not squares[0]:
        return 1
    alpha = short / long
    tau = 2.5129 * np.sqrt(alpha)
    limit = (1 + tau) * (1 + alpha / tau)  # Of squares over long · variance that are kept.
    # What the variance cannot be below: noise explains what the largest possible rank leaves.
    most = int(min(np.ceil(short / (1 + alpha)) - 1, short - 1))
    low = max(squares[most] / (long * limit), squares[most:].mean() / long)
    high = squares.sum() / (short * long)
    floor = squares[0] * 1e-15
    squares = np.maximum(squares, floor)
    variance = _minimum(
        lambda v: _free_energy(squares / (long * v), alpha, limit), max(low, floor / long), high
    )
    return max(1, int((squares > long * variance * limit).sum()))


def _free_energy(x, alpha, limit):
    """What the variance minimizes, of squares over long · variance, up to a constant."""
    kept, rest = x[x > limit], x[x <= limit]
    above = kept - (1 + alpha)
    tau = (above + np.sqrt(above**2 - 4 * alpha)) / 2
    energy = (rest - np.log(rest)).sum() + (kept - tau).sum()
    return energy + np.log((tau + 1) / kept).sum() + alpha * np.log1p(tau / alpha).sum()


def _minimum(function, low, high):
    """Where a function of one valley is smallest, by golden section of the logarithm."""
    low, high = np.log(low), np.log(max(high, low))
    for _ in range(_STEPS):
        first, second = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        if function(np.exp(first)) < function(np.exp(second)):
            high = second
        else:
            low = first
    return float(np.exp((low + high) / 2))
