"""How much of the variance of numbers other numbers give, column by column where there are few."""

import numpy as np

# Up to how many columns of numbers each is judged by itself: they may be of different units.
FEW_COLUMNS = 16
# What varies by less, as a fraction of the largest value, is the noise of float32.
NOISE = 1e-5
# From which fraction on numbers are given closely.
CLOSE = 0.99


def by_column(values: np.ndarray) -> np.ndarray:
    """Returns the sums over samples and positions: of each column, or of all where there are many.

    Args:
        values: Array `(samples, ..., columns)` or `(samples,)`.

    Returns:
        Array `(columns,)`, or `(1,)` of more than `FEW_COLUMNS` columns and of one.
    """
    columns = values.shape[-1] if values.ndim > 1 else 1
    sums = values.reshape(-1, columns).sum(axis=0)
    return sums if columns <= FEW_COLUMNS else sums.sum(keepdims=True)


def explained_fraction(wanted: np.ndarray, given: np.ndarray, step: float = 0.0) -> float:
    """Returns 1 - Σ error² / Σ (wanted - its mean over the samples)², or 0 if that is less.

    Of up to `FEW_COLUMNS` columns it is that of the worst, of more that of all together.

    Args:
        wanted: Array `(samples, ..., columns)` or `(samples,)`.
        given: Array of the same shape.
        step: What an integer of quantized numbers is worth, 0 for floats. Errors of a step do not
            count where `wanted` varies by two at most, and they are small beside its values. A
            column of small values beside large ones is not excused by that.

    Returns:
        A float in [0, 1].
    """
    columns = wanted.shape[-1] if wanted.ndim > 1 else 1
    wanted, given = (a.astype("float64").reshape(len(a), -1, columns) for a in (wanted, given))
    errors = by_column((given - wanted) ** 2)
    spread = by_column((wanted - wanted.mean(axis=0)) ** 2)
    squares = by_column(wanted**2)
    largest_error = np.abs(given - wanted).max(axis=(0, 1))
    largest_range = np.ptp(wanted, axis=0).max(axis=0)
    if columns > FEW_COLUMNS:
        largest_error, largest_range = (
            np.max(a, keepdims=True) for a in (largest_error, largest_range)
        )
    varies = spread > NOISE**2 * squares
    scale = np.where(varies, spread, squares)
    lost = np.divide(errors, scale, out=np.where(errors > 0, 1.0, 0.0), where=scale > 0)
    is_small = (largest_range <= 2 * step) & (errors <= (1 - CLOSE) * squares)
    is_within = (largest_error <= step) & (~varies | is_small)
    found = np.where(is_within, 1.0, 1 - lost)
    return float(max(found.min(), 0.0))
