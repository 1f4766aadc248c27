"""What a LiteRT file takes and gives: types, shapes, and which numbers its integers hold."""

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kdzoo.utils import check_numeric_array
from kdzoo.utils.litert.integers_inside import Range, range_of
from kdzoo.utils.types import PathLike

# By how many widths of its range values may lie outside of what an input can hold: they are cut.
_WIDE, _TOO_WIDE = 1, 32


@dataclasses.dataclass(frozen=True)
class TensorInfo:
    """One input or output of a LiteRT file.

    Attributes:
        name: Its name in the file's signature.
        shape: Its shape, batch included.
        dtype: NumPy name of its type, e.g. `"float32"` or `"int8"`.
        scale: For quantized tensors, real value = scale * (integer - zero_point); otherwise None.
        zero_point: The integer that stands for 0.0; None if not quantized.
        range: (lowest, highest) of the real values that integers in the file stand for, where this
            tensor holds such integers, or is float32 and is converted to or from them at once.
            Values of an input beyond it are cut off. Otherwise None.
        step: What one step of those integers is worth; None where `range` is.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float | None
    zero_point: int | None
    range: tuple[float, float] | None = dataclasses.field(default=None, kw_only=True)
    step: float | None = dataclasses.field(default=None, kw_only=True)

    def quantize(self, array: np.ndarray) -> np.ndarray:
        """Converts real values to what the file takes.

        Args:
            array: Real values, of any shape.

        Returns:
            `round(array / scale) + zero_point`, clipped to the range of `dtype`, for a quantized
            tensor; otherwise `array` in `dtype`.
        """
        if self.scale is None:
            return array.astype(self.dtype, copy=False)
        limits = np.iinfo(self.dtype)
        integers = np.rint(array / np.float32(self.scale)) + self.zero_point
        return np.clip(integers, limits.min, limits.max).astype(self.dtype)

    def dequantize(self, array: np.ndarray) -> np.ndarray:
        """Converts what the file gives to real values.

        Args:
            array: Values of this tensor, of any shape.

        Returns:
            `(array - zero_point) * scale` in float32 for a quantized tensor; otherwise `array`.
        """
        if self.scale is None:
            return array
        return (array.astype("float32") - self.zero_point) * np.float32(self.scale)


def info_of(
    detail: Mapping[str, Any], name: str, ranges: Mapping[int, Range] | None = None
) -> TensorInfo:
    """Returns the `TensorInfo` of one of the interpreter's tensors.

    Args:
        detail: What the interpreter says of it.
        name: Its name.
        ranges: What `ranges_inside` found.
    """
    dtype, (scale, zero_point) = np.dtype(detail["dtype"]), detail["quantization"]
    quantized = scale != 0.0
    known = (ranges or {}).get(detail["index"])
    if quantized and dtype.kind in "iu":
        known = range_of(dtype.name, scale, zero_point)
    return TensorInfo(
        name=name,
        shape=tuple(int(size) for size in detail["shape"]),
        dtype=dtype.name,
        scale=float(scale) if quantized else None,
        zero_point=int(zero_point) if quantized else None,
        range=known and known[:2],
        step=known and known[2],
    )


def check_tensor(path: PathLike, info: TensorInfo) -> None:
    """Raises `ValueError` unless a tensor has something in it, and integers that stand for numbers.

    Args:
        path: The file, for errors.
        info: The tensor.
    """
    is_scaled = all(step is None or 0 < step < np.inf for step in (info.scale, info.step))
    if min(info.shape, default=1) < 1 or not is_scaled or info.dtype[0] not in "fiub":
        raise ValueError(
            f"Expected a LiteRT file of numbers. Received: path={str(path)!r}, with {info}"
        )


def arrays_of(inputs: Sequence[TensorInfo], x: Any) -> list[np.ndarray]:
    """Returns samples as a list of arrays in the order of the inputs.

    Args:
        inputs: The inputs.
        x: An array; for several inputs a list in their order, or a dict by their names.

    Raises:
        ValueError: If there are more or fewer of them, others, or no arrays of numbers.
    """
    names = [info.name for info in inputs]
    if isinstance(x, dict):
        if set(x) != set(names):
            raise ValueError(f"Expected inputs named {names}. Received: {sorted(x)}.")
        return [check_numeric_array(name, x[name]) for name in names]
    if len(names) == 1:
        return [check_numeric_array(names[0], x)]
    if not isinstance(x, (list, tuple)) or len(x) != len(names):
        raise ValueError(f"Expected one array for each of the inputs {names}.")
    return [check_numeric_array(name, value) for name, value in zip(names, x, strict=True)]


def checked_arrays(inputs: Sequence[TensorInfo], x: Any) -> list[np.ndarray]:
    """Returns what `arrays_of` does, of shapes and in ranges that fit the inputs.

    Args:
        inputs: The inputs.
        x: What `arrays_of` takes.

    Raises:
        ValueError: If it does not fit.
    """
    arrays = arrays_of(inputs, x)
    count = arrays[0].shape[0] if arrays[0].ndim else 0
    for info, array in zip(inputs, arrays, strict=True):
        _check_samples(info, array, count)
    return arrays


def _check_samples(info, array, count):
    """Raises unless an array fits an input: shape, number of samples, range."""
    if array.shape[1:] != info.shape[1:] or array.ndim != len(info.shape) or len(array) != count:
        expected = ", ".join(map(str, ("samples", *info.shape[1:])))
        raise ValueError(
            f"Expected an array of shape ({expected}) for input {info.name!r}. "
            f"Received: shape={array.shape}."
        )
    if not count:
        raise ValueError(f"Expected at least one sample. Received: shape={array.shape}.")
    if info.range is not None:
        _check_range(info, array)


def _check_range(info, array):
    """Raises or warns if values lie far outside of those that a quantized input can hold."""
    low, high = info.range
    if not np.all(np.isfinite(array)):
        raise ValueError(
            f"Expected finite values for input {info.name!r}, which integers stand for. Received: "
            "NaN or infinite values: remove or repair those samples."
        )
    beyond = max(low - array.min(), array.max() - high) / (high - low)
    if beyond <= _WIDE:
        return
    received = f"Received: values from {array.min():g} to {array.max():g}"
    expected = f"Expected values from about {low:.3g} to {high:.3g} for input {info.name!r}."
    if beyond > _TOO_WIDE:
        raise ValueError(
            f"{expected} {received}: divide images in [0, 255] by 255, or export the file with "
            "representative_data like these."
        )
    warnings.warn(
        f"{expected} {received}, which are cut off there: export the file with "
        "representative_data like these, or clip them with numpy.clip.",
        stacklevel=5,
    )
