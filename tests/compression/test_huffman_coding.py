"""Weights as few bytes: every bit comes back, and the bytes are those that entropy allows."""

import time
import tracemalloc
import zlib

import ml_dtypes
import numpy as np
import pytest

from kdzoo.compression.huffman_coding import bytes_of, check_coded, decode, encode

TYPES = (
    *("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"),
    *("float16", "float32", "float64", ml_dtypes.bfloat16, ml_dtypes.float8_e5m2),
)


def round_trip(array):
    """How an array is coded, after comparing what comes back bit for bit."""
    coded, code = encode(array)
    assert check_coded(coded) == array.nbytes
    assert bytes_of(coded).total == len(code)
    again = decode(coded, memoryview(code))
    assert (again.shape, again.dtype) == (array.shape, array.dtype)
    assert again.tobytes() == array.tobytes()
    return coded, code


def random_array(rng):
    """Bits of any type, shape, sparsity and number of different values."""
    dtype = np.dtype(TYPES[rng.integers(len(TYPES))])
    shape = tuple(rng.integers(0, 12, rng.integers(0, 4)))
    if rng.random() < 0.1:
        shape = (int(rng.integers(0, 5000)),)
    size = int(np.prod(shape))
    numbers = rng.integers(0, 256, (size, dtype.itemsize), "u1")
    if len(shape) > 1 and rng.random() < 0.2:
        return with_random_signs(dtype, shape, rng)
    if rng.random() < 0.5:
        book = rng.integers(0, 256, (rng.integers(1, 300), dtype.itemsize), "u1")
        numbers = book[rng.integers(0, len(book), size)]
    numbers = numbers * (rng.random((size, 1)) >= rng.choice([0, 0.5, 0.9, 0.99, 1]))
    numbers = numbers.astype("u1") & (1 if dtype.kind == "b" else 255)
    return np.ascontiguousarray(numbers).reshape(-1).view(dtype).reshape(shape)


def with_random_signs(dtype, shape, rng):
    """Bits of any type that are equal along all axes but the last, but for the highest one."""
    scales = rng.integers(0, 256, (shape[-1], dtype.itemsize), "u1")
    numbers = np.empty((*shape, dtype.itemsize), "u1")
    numbers[:] = scales & (1 if dtype.kind == "b" else 255)
    if dtype.kind != "b":
        numbers[..., -1] ^= rng.integers(0, 2, shape, "u1") << 7
    return numbers.reshape(-1).view(dtype).reshape(shape)


def round_trip_dictionaries(count, seed):
    rng = np.random.default_rng(seed)
    for _ in range(count):
        for _ in range(rng.integers(1, 5)):
            round_trip(random_array(rng))


def test_random_dictionaries_come_back():
    round_trip_dictionaries(100, 0)


@pytest.mark.large
def test_ten_thousand_random_dictionaries_come_back():
    round_trip_dictionaries(10_000, 1)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ml_dtypes.bfloat16])
def test_odd_numbers_come_back_bit_for_bit(dtype):
    unsigned = f"u{np.dtype(dtype).itemsize}"
    largest = int(np.iinfo(unsigned).max)
    infinity = int(np.array(np.inf, dtype).view(unsigned))
    # Zero, the smallest denormal, infinities, NaNs of several payloads, and minus zero.
    odd = [0, 1, infinity, infinity + 1, infinity + 5, largest, largest // 2 + 1, largest // 2 + 2]
    round_trip(np.array(odd, unsigned).view(dtype))
    round_trip(np.array(odd * 100 + [0] * 3000, unsigned).view(dtype))


def test_a_minus_zero_is_no_zero():
    array = np.zeros(1000, "float32")
    array[500] = -0.0
    coded, code = round_trip(array)
    assert "positions" in coded
    assert np.signbit(decode(coded, memoryview(code)))[500]


@pytest.mark.parametrize("gap", [0, 1, 253, 254, 255, 256, 509, 510, 511, 2000])
def test_gaps_of_every_length_come_back(gap):
    array = np.zeros(3 * (gap + 1) + 300, "float32")
    array[gap :: gap + 1] = np.random.default_rng(0).normal(size=len(array[gap :: gap + 1]))
    round_trip(array)


def test_a_codebook_costs_the_entropy_of_its_indices():
    rng = np.random.default_rng(0)
    chances = np.array([0.5, 0.2, 0.1, 0.1, 0.05, 0.03, 0.02])
    book = rng.normal(size=7).astype("float32")
    coded, code = round_trip(book[rng.choice(7, 100_000, p=chances)])
    entropy = -(chances * np.log2(chances)).sum() * 100_000 / 8
    assert bytes_of(coded).codebook == 28
    assert entropy < len(code) < 1.03 * entropy + 100


@pytest.mark.parametrize(("values", "bits"), [(1, 1), (2, 1), (3, 2), (4, 2), (7, 4), (16, 4)])
def test_few_values_take_no_more_bits_than_tell_them_apart(values, bits):
    rng = np.random.default_rng(0)
    book = rng.normal(size=values).astype("float32")
    _, code = round_trip(book[rng.integers(0, values, 10_001)])
    assert len(code) <= bits * 10_001 / 8 + 4 * values + 1


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_signs_of_a_scale_for_each_output_take_a_bit(dtype):
    """As XNOR has them: 512 rows of more scales than a codebook of one byte tells apart."""
    rng = np.random.default_rng(0)
    scales = rng.normal(size=300).astype(dtype)
    array = np.where(rng.random((16, 32, 300)) < 0.5, scales, -scales)
    coded, code = round_trip(array)
    assert bytes_of(coded).symbols <= array.size / 8 + 1
    assert bytes_of(coded).codebook <= scales.nbytes
    array[3, 4, 5] *= 2
    assert len(round_trip(array)[1]) > len(code)


def checked_and_decoded(coded):
    check_coded(coded)
    return decode(coded, memoryview(b"\x01" * bytes_of(coded).total))


SIGNS = {"dtype": "float32", "shape": [4, 3], "scales": [[0, 12, 12]], "symbols": [[0, 2, 2]]}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"shape": []}, "in the place of signs and scales"),
        ({"shape": [4, 0]}, "in the place of signs and scales"),
        ({"codebook": [[0, 4, 4]]}, "in the place of signs and scales"),
        ({"positions": [[0, 4, 4]]}, "in the place of signs and scales"),
        ({"shape": [6, 2]}, "scales of more bytes"),
        ({"shape": [2, 6]}, "numbers that do not fit"),
        ({"shape": [8, 3]}, "signs that do not fit"),
        ({"symbols": [[0, 1, 1]] * 2}, "signs that do not fit"),
        ({"scales": []}, "numbers that do not fit|bytes that belong to no stream"),
        ({"dtype": "bool", "scales": [[0, 3, 3]], "symbols": [[0, 2, 2]]}, "neither true nor"),
    ],
)
def test_lies_of_signs_are_refused(change, reason):
    with pytest.raises(ValueError, match=reason):
        checked_and_decoded({**SIGNS, **change})


def test_zeros_cost_a_gap_for_each_other_number():
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=100_000).astype("float32")
    array = np.where(rng.random(100_000) < 0.1, numbers, 0)
    coded, code = round_trip(array)
    # Gaps are geometric: of the chance p to end, entropy h(p) / p.
    entropy = -(0.1 * np.log2(0.1) + 0.9 * np.log2(0.9)) / 0.1 * 10_000 / 8
    assert entropy < bytes_of(coded).positions < 1.03 * entropy + 200
    assert len(code) < 0.12 * array.nbytes


def test_what_cannot_be_shorter_is_not_longer():
    array = np.random.default_rng(0).integers(0, 1 << 32, 5000, "uint32")
    coded, code = round_trip(array)
    assert len(code) == array.nbytes
    assert coded["symbols"] == [[0, 20_000, 20_000]]


def test_other_types_are_refused():
    with pytest.raises(ValueError, match=r"of one of Keras's types. Received: complex64"):
        encode(np.zeros(3, "complex64"))


@pytest.mark.large
@pytest.mark.parametrize("zeros", [0.0, 0.9])
def test_it_decodes_a_hundred_megabytes_a_second(zeros):
    rng = np.random.default_rng(0)
    numbers = rng.normal(0, 0.05, 14_000_000).astype("float32")
    array = np.where(rng.random(14_000_000) >= zeros, numbers, 0)
    coded, code = encode(array)
    times = []
    for _ in range(3):
        start = time.perf_counter()
        again = decode(coded, memoryview(code))
        times.append(time.perf_counter() - start)
    assert again.tobytes() == array.tobytes()
    rate = array.nbytes / min(times) / 1e6
    print(f"{rate:.0f} MB/s at {zeros:.0%} zeros, {array.nbytes / len(code):.2f} times smaller")
    assert rate >= 100


def test_gaps_take_no_more_memory_than_the_weights_do():
    """Two kilobytes that say where a million equal numbers lie."""
    count = 1 << 20
    gaps, symbols = (zlib.compress(bytes(size), wbits=-15) for size in (count, count // 8))
    coded = {
        "dtype": "float32",
        "shape": [count],
        "positions": [[1, len(gaps), count]],
        "codebook": [[0, 4, 4]],
        "symbols": [[1, len(symbols), count // 8]],
    }
    assert check_coded(coded) == 4 * count
    code = gaps + np.float32(0.5).tobytes() + symbols
    tracemalloc.start()
    try:
        array = decode(coded, memoryview(code))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (array == 0.5).all()
    assert peak < 4 * array.nbytes


def test_constant_bytes_and_codebooks_take_next_to_nothing():
    rng = np.random.default_rng(0)
    rounded = rng.normal(size=300).astype(ml_dtypes.bfloat16).astype("float32")
    _, code = round_trip(rounded)
    assert len(code) < 2 * 300  # Two of four bytes are zero.
    book = np.sort(rng.normal(size=64)).astype(ml_dtypes.bfloat16).astype("float32")
    coded, code = round_trip(book[rng.integers(0, 64, 5000)])
    assert 64 < bytes_of(coded).codebook < 2 * 64
    assert len(code) < 6.1 * 5000 / 8 + 2 * 64 + 60
