"""The samples that calibrate and verify a file: real ones from the user's data, or random ones."""

import dataclasses
import heapq
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import keras
import numpy as np
from numpy.typing import ArrayLike

from kdzoo.export.signature import InputSpec
from kdzoo.graph.raw_pixels import warn_of_raw_pixels
from kdzoo.utils import check_numeric_array

# Signatures quote it, so that `help` shows the name instead of a page of types.
Samples: TypeAlias = (
    ArrayLike
    | Mapping[str, ArrayLike]
    | Iterable[Any]
    | keras.utils.PyDataset
    | Callable[[], Iterable[Any]]
)

# Of a stream, so many times the samples that are wanted are read, to choose from.
_LOOK_AHEAD = 4


@dataclasses.dataclass(frozen=True)
class Drawn:
    """Samples drawn from the user's data.

    Attributes:
        verification: For each input an array `(n, ...)`, on which Keras and the file are compared.
        calibration: For each input an array, of other samples unless there are too few; None where
            nothing is calibrated.
    """

    verification: list[np.ndarray]
    calibration: list[np.ndarray] | None = None


def draw_samples(
    data: Samples,
    model: keras.Model,
    specs: list[InputSpec],
    limit: int,
    check_images: bool = True,
    calibrates: bool = False,
) -> Drawn:
    """Draws samples from all over `data`, checked against the model's inputs.

    Args:
        data: A NumPy array `(samples, ...)`; a list or dict of arrays for several inputs; or an
            iterable (`tf.data.Dataset`, `keras.utils.PyDataset`, generator) of `x` or `(x, y)`,
            with or without a batch dimension, or a function that returns one. A tuple is read as
            `(x, y, ...)`.
        model: The Keras model that takes the samples.
        specs: The `InputSpec` of each input.
        limit: At most this many samples verify, and as many calibrate.
        check_images: Whether images in [0, 255] are one warning, unless the model may rescale them.
        calibrates: Whether samples calibrate: as many others as verify, on halves where there are
            fewer than twice `limit`, but at least those of a batch.

    Returns:
        The `Drawn` samples, in the inputs' dtypes and in the order of the data: a choice from a
        fixed seed over a whole array or list, and over the first of a stream, 4 times as many.

    Raises:
        ValueError: If there is no sample, a shape does not fit, a value is NaN or infinite, or
            samples that calibrate are all alike.

    Warns:
        UserWarning: If samples that verify are all alike, or those of an input of floats are while
            those of others differ.
    """
    wanted = 2 * limit if calibrates else limit
    arrays = _chosen(data, model, specs, wanted)
    _check_values(arrays, model, specs, check_images)
    _check_differ(arrays, specs, calibrates)
    count = len(arrays[0])
    if not calibrates:
        return Drawn(arrays)
    # Every second sample, so that both come from everywhere; more calibrate for a whole batch.
    places = np.arange(count)
    order = np.concatenate([places[::2], places[1::2]])
    half = max(count - count // 2, min(specs[0].shape[0], count))
    calibrating, verifying = np.sort(order[:half]), np.sort(order[half:])
    verifying = verifying if len(verifying) else places
    return Drawn([array[verifying] for array in arrays], [array[calibrating] for array in arrays])


def random_samples(specs: list[InputSpec], count: int) -> list[np.ndarray]:
    """Returns random samples from a fixed seed: floats in [0, 1), pixels for uint8, else 0 or 1.

    Args:
        specs: The `InputSpec` of each input.
        count: The number of samples.

    Returns:
        A list with one array `(count, ...)` for each input.
    """
    generator = np.random.default_rng(0)
    arrays = []
    for spec in specs:
        shape = (count, *spec.shape[1:])
        if np.issubdtype(np.dtype(spec.dtype), np.floating):
            arrays.append(generator.random(shape, "float32").astype(spec.dtype))
        else:
            arrays.append(
                generator.integers(256 if spec.dtype == "uint8" else 2, size=shape).astype(
                    spec.dtype
                )
            )
    return arrays


def with_sizes_of(
    data: Samples | None, model: keras.Model, specs: list[InputSpec]
) -> tuple[Samples | None, list[InputSpec]]:
    """Fixes the open sizes of inputs to those of the first of the user's samples.

    Args:
        data: The samples; None leaves the sizes open.
        model: The Keras model.
        specs: The `InputSpec` of each input, with None for a size that is open.

    Returns:
        (the same samples, of which none is lost, the specs).
    """
    if data is None or all(size is not None for spec in specs for size in spec.shape):
        return data, specs
    data = _called(data)
    elements = _elements(data, specs)
    first = next(elements, None)
    if first is None:
        return data, specs
    fixed = [
        dataclasses.replace(spec, shape=(spec.shape[0], *array.shape[1:]))
        for spec, array in zip(specs, _by_input(first, model, specs), strict=True)
    ]
    is_consumed = hasattr(data, "__next__")
    return (_again(first, elements) if is_consumed else data), fixed


def _again(first, rest):
    """Yields `(x,)` of elements that were taken out of their tuples already."""
    yield (first,)
    for element in rest:
        yield (element,)


def _called(data):
    """What a function returns that gives the samples, as TensorFlow's converter takes it."""
    is_data = hasattr(data, "__iter__") or _is_array(data)
    if is_data or isinstance(data, type | keras.utils.PyDataset) or not callable(data):
        return data
    return data()


def _chosen(data, model, specs, wanted):
    """Returns an array of up to `wanted` samples for each input, in the order of the data.

    They are those with the smallest of random keys, one for each sample, so that a stream need not
    be kept.
    """
    generator, most = np.random.default_rng(0), _LOOK_AHEAD * wanted
    kept, count = [], 0  # Kept as a heap, on top of which the largest key lies.
    data = _called(data)
    for element in _elements(data, specs, lambda x: len(_by_input(x, model, specs)[0]), most):
        part = _by_input(element, model, specs)
        keys = generator.random(len(part[0]))
        near = np.argsort(keys, kind="stable")[:wanted]
        for place in near:
            if len(kept) == wanted and keys[place] >= -kept[0][0]:
                break
            sample = (-keys[place], count + int(place), [array[place].copy() for array in part])
            (heapq.heappush if len(kept) < wanted else heapq.heapreplace)(kept, sample)
        count += len(keys)
        if count >= most:
            break
    if not kept:
        raise ValueError("Expected at least one sample. Received: representative_data is empty.")
    kept.sort(key=lambda sample: sample[1])
    return [np.stack(arrays) for arrays in zip(*(sample[2] for sample in kept), strict=True)]


def _check_values(arrays, model, specs, check_images):
    """Raises if samples are not finite, warns if they look like raw pixels to another model."""
    for spec, array in zip(specs, arrays, strict=True):
        if not np.all(np.isfinite(array)):
            raise ValueError(
                "Expected finite samples. Received: representative_data with NaN or infinite "
                f"values for input {spec.name!r}: remove or repair those samples."
            )
        if check_images:
            warn_of_raw_pixels(array, model, "check_images=False", 5)


def _check_differ(arrays, specs, calibrates):
    """Raises if all samples that calibrate are one, warns if all that verify, or of an input, are.

    Inputs of integers, such as masks of ones, have no range to calibrate.
    """
    count = len(arrays[0])
    alike = [not np.any(array != array[0]) for array in arrays]
    names = [
        spec.name
        for spec, array, is_alike in zip(specs, arrays, alike, strict=True)
        if is_alike and (array.dtype.kind == "f" or all(alike))
    ]
    if count < 2 or not names:
        return
    received = f"Received: representative_data of {count} samples that are all alike"
    if not all(alike):
        received += f" in {', '.join(map(repr, names))}"
    elif calibrates:
        raise ValueError(
            "Expected samples that differ from one another, as they calibrate the ranges of the "
            f"activations. {received}; pass real ones."
        )
    warnings.warn(
        f"Expected samples that differ from one another. {received}, which verify little and "
        "calibrate no range; pass real ones, or None where nothing is calibrated.",
        stacklevel=5,
    )


def _elements(data, specs, size_of=None, most=None):
    """Yields the `x` of each element of `data`; an array, or a dict of arrays, is one element.

    Of a list or a `PyDataset` with more than `most` samples, elements from all over it.
    """
    if isinstance(data, tuple):
        data = data[0]
    several = len(specs) > 1
    if _is_array(data) or isinstance(data, dict) or (several and _is_list_of_arrays(data, specs)):
        yield data
    elif isinstance(data, keras.utils.PyDataset | list):
        elements, step = len(data), 1
        if elements and most is not None:
            step = max(1, elements * size_of(_x(data[0], specs)) // most)
        for index in range(0, elements, step):
            yield _x(data[index], specs)
    elif hasattr(data, "__iter__") and not isinstance(data, (str, bytes)):
        for element in data:
            yield _x(element, specs)
    else:
        raise ValueError(
            "Expected representative_data to be an array or a dataset of x or (x, y), or a "
            "function that returns one. "
            f"Received: representative_data of type {type(data).__name__}."
        )


def _x(element, specs):
    """Returns the `x` of an element that is `x` or `(x, y, ...)`, or an array for each input."""
    if not isinstance(element, tuple) or not element:
        return element
    is_x = len(keras.tree.flatten(element[0])) == len(specs)
    is_all = not is_x and len(keras.tree.flatten(element)) == len(specs)
    return list(element) if is_all else element[0]


def _is_array(value):
    return hasattr(value, "shape") and hasattr(value, "__array__")


def _is_list_of_arrays(value, specs):
    return isinstance(value, list) and len(value) == len(specs) and all(map(_is_array, value))


def _by_input(element, model, specs):
    """Returns one array with a batch dimension for each input."""
    if isinstance(element, dict) and not isinstance(getattr(model, "input", None), dict):
        missing = [spec.key for spec in specs if spec.key not in element]
        if missing:
            raise ValueError(
                f"Expected representative_data with the key {missing[0]!r}. "
                f"Received: keys={sorted(element)}."
            )
        flat = [element[spec.key] for spec in specs]
    else:
        flat = keras.tree.flatten(element)
    if len(flat) != len(specs):
        raise ValueError(
            f"Expected representative_data for {len(specs)} inputs. Received: {len(flat)} arrays."
        )
    arrays = [check_numeric_array("representative_data", value) for value in flat]
    arrays = [_batched(array, spec) for array, spec in zip(arrays, specs, strict=True)]
    lengths = [len(array) for array in arrays]
    if len(set(lengths)) > 1:
        raise ValueError(
            "Expected as many samples for each input in representative_data. Received: "
            f"lengths={lengths}"
        )
    return arrays


def _batched(array, spec):
    """Returns `array` with a batch dimension, in the dtype of the input."""
    if _fits(array.shape, spec.shape[1:]):
        array = array[None]
    if not _fits(array.shape[1:], spec.shape[1:]) or array.ndim != len(spec.shape):
        expected = ("samples", *("any" if size is None else size for size in spec.shape[1:]))
        raise ValueError(
            f"Expected representative_data of shape ({', '.join(map(str, expected))}) for input "
            f"{spec.name!r}. Received: shape={array.shape}."
        )
    return array.astype(spec.dtype, copy=False)


def _fits(shape, expected):
    """Whether a shape is the expected one, whose open sizes are None."""
    return len(shape) == len(expected) and all(
        wanted in (None, size) for size, wanted in zip(shape, expected, strict=True)
    )
