"""Random numbers are hashes of their coordinates."""

import numpy as np
import pytest

from kdzoo.data import randomness
from kdzoo.data.hold_out import stratified_choice


def splitmix64(state):
    """The published algorithm, in Python integers."""
    state = (state + 0x9E3779B97F4A7C15) % 2**64
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) % 2**64
    return state ^ (state >> 31)


def test_published_value():
    # The first output of SplitMix64 seeded with 1234567, from the reference implementation.
    assert randomness.hash64([1234567])[0] == 6457827717110365317


@pytest.mark.parametrize("seed", [0, 1, 2**64 - 1, -1])
def test_hash_chains_the_keys(seed):
    expected = [splitmix64(splitmix64(splitmix64(seed % 2**64) ^ 7) ^ i) for i in range(5)]
    np.testing.assert_array_equal(
        randomness.hash64(np.arange(5), seed, 7), np.array(expected, np.uint64)
    )


def test_a_number_does_not_depend_on_its_neighbours():
    together = randomness.integers(np.arange(100), 9, 3, 4)
    alone = [randomness.integers([i], 9, 3, 4)[0] for i in range(100)]
    np.testing.assert_array_equal(together, alone)


def test_integers_are_uniform():
    counts = np.bincount(randomness.integers(np.arange(90_000), 9, 0, 1), minlength=9)
    # Chi-squared with 8 degrees of freedom is above 26.1 once in a thousand times.
    assert len(counts) == 9
    assert ((counts - 10_000) ** 2 / 10_000).sum() < 26.1


def test_permutation_holds_everything_once():
    first, second = randomness.permutation(1000, 0, 0), randomness.permutation(1000, 0, 1)
    np.testing.assert_array_equal(np.sort(first), np.arange(1000))
    assert (first != second).mean() > 0.9


@pytest.mark.parametrize("count", [0, 1, 7, 50, 99, 100])
def test_stratified_choice_keeps_proportions(count):
    labels = np.repeat([5, 0, 2], [50, 30, 20])
    chosen = stratified_choice(labels, count, 1)
    assert len(np.unique(chosen)) == count
    shares = np.array([(labels[chosen] == label).sum() for label in (5, 0, 2)])
    assert np.all(np.abs(shares - count * np.array([0.5, 0.3, 0.2])) < 1)
