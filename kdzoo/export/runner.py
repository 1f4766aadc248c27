"""LiteRT files that predict like Keras models: arrays in, float arrays out."""

import dataclasses
import pathlib
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from kdzoo.utils import check_numeric_array, check_path, check_positive_integer
from kdzoo.utils.litert.integers_inside import Range, range_of
from kdzoo.utils.litert.network_costs import NetworkCosts, network_costs
from kdzoo.utils.litert.safe_interpreter import open_litert, read_tables
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


class LiteRTModel:
    """A LiteRT file with a `predict` method; it runs in the `ai_edge_litert` interpreter.

    A file that this process has not opened before runs once in a process of its own first, because
    a damaged file may end the process that runs it.

    Example:

    ```python
    model = kdzoo.export.LiteRTModel("student.tflite")
    logits = model.predict(images)  # float32 (samples, classes), whatever the file computes in
    ```

    Args:
        path: A `.tflite` file.
        threads: Threads of the interpreter, 1 or more; None leaves the choice to LiteRT.

    Attributes:
        path: The file, a `pathlib.Path`.
        threads: The number of threads; None where LiteRT chooses.
        inputs: Tuple of `TensorInfo`, in the order of the file.
        outputs: Tuple of `TensorInfo`, sorted by name.
        labels: List of the class names in the file, or None.
        batch_size: Samples in one run of the file; `predict` takes any number of samples.

    Raises:
        FileNotFoundError: If there is no file at `path`.
        ValueError: If the file is not a LiteRT model, or `threads` is not a positive integer.
    """

    path: pathlib.Path
    threads: int | None
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    labels: list[str] | None
    batch_size: int

    def __init__(self, path: PathLike, threads: int | None = None) -> None:
        self.threads = None if threads is None else check_positive_integer("threads", threads, 1024)
        self._open(check_path("path", path), is_trusted=False)

    @classmethod
    def of_own_file(cls, path: PathLike) -> "LiteRTModel":
        """Returns the model of a file that this process has just written, without a trial run."""
        model = cls.__new__(cls)
        model.threads = None
        model._open(path, is_trusted=True)
        return model

    def _open(self, path, is_trusted):
        self.path = path
        opened = open_litert(path, self.threads, is_trusted)
        self._interpreter, self.labels, is_ours, ranges, self._network = opened
        self._read_signature(ranges)
        for info in (*self.inputs, *self.outputs):
            _check_tensor(path, info)
        if not self.inputs or not self.outputs:
            raise ValueError(
                f"Expected a LiteRT file with inputs and outputs. Received: path={str(path)!r}"
            )
        sizes = [info.shape[-1] for info in self.outputs if info.shape]
        if self.labels is not None and len(self.labels) not in sizes and not is_ours:
            self.labels = None  # The labels of a foreign detector count along no axis of an output.
        if self.labels is not None and len(self.labels) not in sizes:
            raise ValueError(
                f"Expected {path} to have a label for each of {sizes} outputs. Received: "
                f"{len(self.labels)} labels; export it or fetch it again."
            )
        self.batch_size = self.inputs[0].shape[0] if self.inputs[0].shape else 1

    def _read_signature(self, ranges):
        """Sets `inputs` and `outputs`, and the indices of their tensors in the interpreter."""
        inputs = self._interpreter.get_input_details()
        input_names = {detail["index"]: detail["name"] for detail in inputs}
        outputs = {detail["name"]: detail for detail in self._interpreter.get_output_details()}
        if len(self._interpreter.get_signature_list()) == 1:
            runner = self._interpreter.get_signature_runner()
            for name, detail in runner.get_input_details().items():
                input_names[detail["index"]] = name
            outputs = runner.get_output_details()  # Two names may stand for one tensor.
        outputs = sorted(outputs.items())
        self.inputs = tuple(
            info_of(detail, input_names[detail["index"]], ranges) for detail in inputs
        )
        self.outputs = tuple(info_of(detail, name, ranges) for name, detail in outputs)
        self._input_indices = [detail["index"] for detail in inputs]
        self._output_indices = [detail["index"] for _, detail in outputs]

    def predict(self, x: "ArrayLike | Sequence[ArrayLike] | Mapping[str, ArrayLike]") -> Any:
        """Returns the file's outputs for any number of samples.

        Args:
            x: Array `(samples, ...)` of the real values that the Keras model takes, also for a
                file whose inputs are integers; for several inputs a list in the order of `inputs`,
                or a dict by name.

        Returns:
            NumPy array `(samples, ...)`, e.g. logits `(samples, classes)`, in float32 if the file
            is quantized; a dict of arrays by name if the file has several outputs.

        Raises:
            ValueError: If shapes do not fit, there is no sample, or values are NaN or lie far
                outside what a quantized input can hold (raw pixels for a file that takes [0, 1]).

        Warns:
            UserWarning: If values lie so far outside of that, by its whole width, that what is cut
                off changes the results.
        """
        arrays = self._by_input(x)
        count = arrays[0].shape[0] if arrays[0].ndim else 0
        for info, array in zip(self.inputs, arrays, strict=True):
            check_samples(info, array, count)
        return self._predict(arrays)

    def _predict(self, arrays):
        """Returns the outputs for arrays in the order of `inputs`, which are cut off unseen."""
        count = len(arrays[0])
        results = [self._run(arrays, start) for start in range(0, count, self.batch_size)]
        joined = [np.concatenate(batches)[:count] for batches in zip(*results, strict=True)]
        if len(joined) == 1:
            return joined[0]
        return {info.name: array for info, array in zip(self.outputs, joined, strict=True)}

    def _by_input(self, x):
        """Returns `x` as a list of arrays in the order of `inputs`."""
        names = [info.name for info in self.inputs]
        if isinstance(x, dict):
            if set(x) != set(names):
                raise ValueError(f"Expected inputs named {names}. Received: {sorted(x)}.")
            return [check_numeric_array(name, x[name]) for name in names]
        if len(names) == 1:
            return [check_numeric_array(names[0], x)]
        if not isinstance(x, (list, tuple)) or len(x) != len(names):
            raise ValueError(f"Expected one array for each of the inputs {names}.")
        return [check_numeric_array(name, value) for name, value in zip(names, x, strict=True)]

    def _run(self, arrays, start):
        """Runs one batch that begins at `start`; a short one is filled up with its last sample."""
        for info, index, array in zip(self.inputs, self._input_indices, arrays, strict=True):
            part = array[start : start + self.batch_size]
            missing = self.batch_size - len(part)
            if missing:
                part = np.concatenate([part, np.repeat(part[-1:], missing, axis=0)])
            self._interpreter.set_tensor(index, info.quantize(part))
        self._interpreter.invoke()
        return [
            info.dequantize(self._interpreter.get_tensor(index))
            for info, index in zip(self.outputs, self._output_indices, strict=True)
        ]


def costs_of(file: LiteRTModel) -> NetworkCosts | None:
    """Returns what the network of an opened file costs; None where LiteRT cannot read it.

    Raises:
        ValueError: If its tables are damaged.
    """
    return read_tables(file.path, file._network, network_costs)


def predict_unchecked(file: LiteRTModel, x: Mapping[str, np.ndarray]) -> Any:
    """Returns what `LiteRTModel.predict` does, without a look at the range of the values.

    Args:
        file: The file.
        x: Arrays `(samples, ...)` by the names of the inputs.
    """
    return file._predict(file._by_input(x))


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


def _check_tensor(path, info):
    """Raises unless a tensor has something in it, and integers that stand for numbers."""
    is_scaled = all(step is None or 0 < step < np.inf for step in (info.scale, info.step))
    if min(info.shape, default=1) < 1 or not is_scaled or info.dtype[0] not in "fiub":
        raise ValueError(
            f"Expected a LiteRT file of numbers. Received: path={str(path)!r}, with {info}"
        )


def check_samples(info: TensorInfo, array: np.ndarray, count: int) -> None:
    """Raises `ValueError` unless an array fits an input: shape, number of samples, range.

    Args:
        info: The input.
        array: The samples.
        count: How many there are of the first input.
    """
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
        stacklevel=4,
    )
