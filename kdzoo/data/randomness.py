"""Random numbers that depend on what they are for, and on nothing that happened before.

A generator that is advanced call by call gives other numbers when batches are read in another
order, by another number of workers or after a restart. Here every number is a hash of its own
coordinates (seed, epoch, sample, purpose), so that each can be computed alone, on every platform,
with the same result.
"""

import numpy as np
from numpy.typing import ArrayLike

_INCREMENT = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)


def hash64(indices: ArrayLike, *keys: int) -> np.ndarray:
    """Returns a 64-bit hash of every index under the given keys.

    The mixing function is SplitMix64's finalizer, applied once for each key and once for the index.

    Args:
        indices: Integers, array of any shape.
        *keys: Integers that select the stream, e.g. seed, epoch and purpose.

    Returns:
        uint64 array of the shape of `indices`, uniform over all 64-bit values.

    Reference:
        Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
    """
    state = np.zeros(1, np.uint64)
    for key in keys:
        state = _mix(state ^ np.uint64(int(key) % 2**64))
    return _mix(state ^ np.asarray(indices).astype(np.uint64))


def integers(indices: ArrayLike, high: int, *keys: int) -> np.ndarray:
    """Returns one random integer in [0, `high`) for every index.

    Args:
        indices: Integers, array of any shape.
        high: Number of values, from 1 to 2**32.
        *keys: Integers that select the stream.

    Returns:
        int64 array of the shape of `indices`.
    """
    upper_half = hash64(indices, *keys) >> np.uint64(32)
    return (upper_half * np.uint64(high) >> np.uint64(32)).astype(np.int64)


def permutation(count: int, *keys: int) -> np.ndarray:
    """Returns the integers from 0 to `count` - 1 in a random order.

    Args:
        count: How many there are.
        *keys: Integers that select the stream.

    Returns:
        int64 array (count,).
    """
    return np.argsort(hash64(np.arange(count), *keys), kind="stable")


def _mix(values):
    values = values + _INCREMENT
    values = (values ^ (values >> np.uint64(30))) * _FIRST
    values = (values ^ (values >> np.uint64(27))) * _SECOND
    return values ^ (values >> np.uint64(31))
