"""The samples that calibrate and verify a file: real ones from the user's data, or random ones."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import keras
import numpy as np
from numpy.typing import ArrayLike

from kdzoo.export.signature import InputSpec
from kdzoo.graph.raw_pixels import looks_like_pixels, rescales_inputs
from kdzoo.utils import check_numeric_array

# Signatures quote it, so that `help` shows the name instead of a page of types.
Samples: TypeAlias = ArrayLike | Mapping[str, ArrayLike] | Iterable[Any] | keras.utils.PyDataset


def collect_samples(
    data: Samples,
    model: keras.Model,
    specs: list[InputSpec],
    limit: int,
    check_images: bool = True,
) -> list[np.ndarray]:
    """Takes the first `limit` samples of `data`, checked against the model's inputs.

    Args:
        data: A NumPy array `(samples, ...)`; a list or dict of arrays for several inputs; or an
            iterable (`tf.data.Dataset`, `keras.utils.PyDataset`, generator) of `x` or `(x, y)`,
            with or without a batch dimension. A tuple is read as `(x, y, ...)`.
        model: The Keras model that takes the samples.
        specs: The `InputSpec` of each input.
        limit: At most this many samples are taken.
        check_images: Whether images in [0, 255] are refused if the model has no layer that
            rescales them.

    Returns:
        A list with one array `(n, ...)` for each input, `n <= limit`, of the input's dtype.

    Raises:
        ValueError: If there is no sample, a shape does not fit, a value is NaN or infinite, or
            images look like raw pixels.
    """
    parts, count = [], 0
    for element in _elements(data, specs):
        part = _by_input(element, model, specs)
        parts.append(part)
        count += len(part[0])
        if count >= limit:
            break
    if not count:
        raise ValueError("Expected at least one sample. Received: representative_data is empty.")
    arrays = [np.concatenate(batches)[:limit] for batches in zip(*parts, strict=True)]
    for spec, array in zip(specs, arrays, strict=True):
        if not np.all(np.isfinite(array)):
            raise ValueError(
                "Expected finite samples. Received: representative_data with NaN or infinite "
                f"values for input {spec.name!r}: remove or repair those samples."
            )
        if check_images and looks_like_pixels(array) and not rescales_inputs(model):
            raise ValueError(
                "Expected images in [0, 1]. Received: representative_data with values up to "
                f"{array.max():g}: divide the images by 255, or pass check_images=False if the "
                "model takes raw pixels."
            )
    return arrays


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


def _elements(data, specs):
    """Yields the `x` of each element of `data`; an array, or a dict of arrays, is one element."""
    if isinstance(data, tuple):
        data = data[0]
    several = len(specs) > 1
    if _is_array(data) or isinstance(data, dict) or (several and _is_list_of_arrays(data, specs)):
        yield data
    elif isinstance(data, keras.utils.PyDataset):
        for index in range(len(data)):
            yield _x(data[index])
    elif hasattr(data, "__iter__") and not isinstance(data, (str, bytes)):
        yield from map(_x, data)
    else:
        raise ValueError(
            "Expected representative_data to be an array or a dataset of x or (x, y). "
            f"Received: representative_data of type {type(data).__name__}."
        )


def _x(element):
    """Returns the `x` of an element that is `x` or `(x, y, ...)`."""
    return element[0] if isinstance(element, tuple) else element


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
    return [_batched(array, spec) for array, spec in zip(arrays, specs, strict=True)]


def _batched(array, spec):
    """Returns `array` with a batch dimension, in the dtype of the input."""
    if array.shape == spec.shape[1:]:
        array = array[None]
    if array.shape[1:] != spec.shape[1:] or array.ndim != len(spec.shape):
        expected = ("samples", *spec.shape[1:])
        raise ValueError(
            f"Expected representative_data of shape ({', '.join(map(str, expected))}) for input "
            f"{spec.name!r}. Received: shape={array.shape}."
        )
    return array.astype(spec.dtype, copy=False)
